//! fsmon.toml.

use std::path::Path;
use std::time::Duration;

use fsmon::config::Config;

pub fn body(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Config::of_text(text, Path::new("/home/alice"), 1000) {
        Ok(config) => is_fit_for_use(&config),
        Err(error) => {
            let message = format!("{error:#}");
            assert!(!message.is_empty());
            // It is shown as one line; what else could move a terminal is escaped where it is printed.
            assert!(!message.contains('\n'), "{message:?}");
        }
    }
}

/// Whatever the file says, nothing later has to check it again.
fn is_fit_for_use(config: &Config) {
    let paths = &config.paths;
    for path in [
        &paths.config_file,
        &paths.store_file,
        &paths.log_dir,
        &paths.socket,
        &paths.lock,
        &paths.journal,
    ] {
        assert!(path.is_absolute(), "{path:?}");
        assert!(
            !path.as_os_str().as_encoded_bytes().contains(&0),
            "{path:?}"
        );
    }
    assert_ne!(paths.socket, paths.lock);
    let (cache, capture) = (&config.cache, &config.capture);
    let most = u32::MAX as usize;
    assert!((1..=most).contains(&cache.dir_cap) && (1..=most).contains(&cache.file_size));
    assert!((4096..=1 << 20).contains(&cache.buffer_size));
    for span in [cache.dir_ttl, cache.proc_ttl, cache.stats_interval] {
        assert!((1..=u64::from(u32::MAX)).contains(&span.as_secs()));
    }
    assert!(capture.ceiling >= 1 << 16 && capture.write_ceiling >= 1 << 16);
    assert!((1..=36_500).contains(&config.logging.keep_days));
    let every = config.logging.auto_clean;
    assert!(every.is_none_or(|every| every >= Duration::from_secs(60)));
    assert_eq!(
        config.logging.size.to_string().parse(),
        Ok(config.logging.size)
    );
}
