use std::fs;

use super::*;
use crate::sys::account::Account;

fn alice(uid: u32) -> Option<Account> {
    (uid == 1000).then(|| Account {
        name: "alice".into(),
        gid: 100,
        home: "/home/alice".into(),
    })
}

fn around(home: &Path) -> Surroundings {
    Surroundings {
        euid: 0,
        home: Some(home.to_owned()),
        xdg_config_home: None,
        sudo_uid: None,
        sudo_gid: None,
        sudo_user: None,
        test: String::new(),
        account: alice,
    }
}

fn with_file(text: &str) -> anyhow::Result<Config> {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join(".config/fsmon")).unwrap();
    fs::write(home.path().join(".config/fsmon/fsmon.toml"), text).unwrap();
    Config::of(&around(home.path()), &CacheSettings::default())
}

fn complaint(text: &str) -> String {
    format!("{:#}", with_file(text).unwrap_err())
}

#[test]
fn without_a_file_everything_has_its_usual_place() {
    let config = Config::of(&around(Path::new("/nowhere")), &CacheSettings::default()).unwrap();
    let paths = config.paths;
    assert_eq!(
        paths.config_file,
        Path::new("/nowhere/.config/fsmon/fsmon.toml")
    );
    assert_eq!(
        paths.store_file,
        Path::new("/nowhere/.local/share/fsmon/monitored.jsonl")
    );
    assert_eq!(paths.log_dir, Path::new("/nowhere/.local/state/fsmon"));
    assert_eq!(
        paths.journal,
        Path::new("/nowhere/.local/state/fsmon/journal.jsonl")
    );
    assert_eq!(paths.socket, Path::new("/tmp/fsmon-0.sock"));
    assert_eq!(paths.lock, Path::new("/tmp/fsmon-0.lock"));
    assert_eq!(
        (config.cache.dir_cap, config.cache.buffer_size),
        (100_000, 32_768)
    );
    assert_eq!(
        (config.capture.ceiling, config.capture.write_ceiling),
        (32 << 20, 16 << 20)
    );
    assert_eq!(config.logging.size.to_string(), ">=1.0GB");
    assert_eq!(config.logging.auto_clean, None);
}

#[test]
fn every_section_and_key_is_optional() {
    with_file("").unwrap();
    with_file("[cache]\n").unwrap();
    let config = with_file(
        "[logging]\nkeep_days = 7\nsize = \"10MB\"\nauto_clean = \"1h30m\"\nsync = \"always\"\nchain = \"always\"\n\
         [socket]\npath = \"/run/fsmon-<UID>.sock\"\n[monitored]\npath = \"~/m.jsonl\"\n\
         [cache]\nproc_ttl_secs = 5\n[capture]\nceiling = \"1MB\"\n",
    )
    .unwrap();
    assert_eq!(config.logging.keep_days, 7);
    assert_eq!(config.logging.auto_clean, Some(Duration::from_mins(90)));
    assert_eq!(
        (config.logging.sync, config.logging.chain),
        (Sync::Always, Chain::Always)
    );
    assert_eq!(config.paths.socket, Path::new("/run/fsmon-0.sock"));
    assert_eq!(config.paths.store_file, config.home.join("m.jsonl"));
    assert_eq!(config.cache.proc_ttl, Duration::from_secs(5));
    assert_eq!(config.capture.ceiling, 1 << 20);
}

#[test]
fn a_mistake_names_its_line_or_key() {
    let unknown = complaint("[logging]\nkeep_days = 7\nkept = 1\n");
    assert!(
        unknown.contains("fsmon.toml', line 3: unknown field `kept`"),
        "{unknown}"
    );
    assert!(!unknown.contains('\n'));
    assert!(complaint("[loging]\n").contains("line 1: unknown field `loging`"));
    assert!(complaint("\nx\n").contains("line 2"));
    assert!(
        complaint("[cache]\nbuffer_size = 100\n")
            .contains("[cache] buffer_size = 100: must be between 4096")
    );
    assert!(complaint("[cache]\ndir_capacity = 0\n").contains("dir_capacity = 0: must be"));
    assert!(
        complaint("[logging]\nsize = \"zz\"\n")
            .contains("[logging] size: 'zz' is not a size filter")
    );
    assert!(complaint("[logging]\nkeep_days = 0\n").contains("keep_days = 0"));
    assert!(
        complaint("[logging]\nauto_clean = \"59s\"\n")
            .contains("[logging] auto_clean = \"59s\": must be at least 1m")
    );
    assert!(
        complaint("[logging]\nauto_clean = \"daily\"\n")
            .contains("[logging] auto_clean: 'daily' is not a length of time")
    );
    assert!(complaint("[socket]\npath = \"rel\"\n").contains("not an absolute path"));
    assert!(complaint("[socket]\npath = \"/tmp/x.lock\"\n").contains(".lock"));
}

#[test]
fn flags_win_over_the_file_and_are_checked_too() {
    let flags = CacheSettings {
        buffer_size: Some(8192),
        ..CacheSettings::default()
    };
    let file = CacheSettings {
        buffer_size: Some(4096),
        dir_capacity: Some(5),
        ..CacheSettings::default()
    };
    let cache = cache_config(&file, &flags).unwrap();
    assert_eq!(
        (cache.buffer_size, cache.dir_cap, cache.file_size),
        (8192, 5, 10_000)
    );
    let zero = CacheSettings {
        file_size_capacity: Some(0),
        ..CacheSettings::default()
    };
    let complaint = cache_config(&file, &zero).unwrap_err().to_string();
    assert!(
        complaint.starts_with("--cache-file-size 0: must be between 1"),
        "{complaint}"
    );
}

#[test]
fn root_works_for_the_user_behind_sudo_when_the_name_fits() {
    let sudo = |user: &str| Surroundings {
        sudo_uid: Some(1000),
        sudo_gid: Some(1001),
        sudo_user: Some(user.into()),
        xdg_config_home: Some("/root/xdg".into()),
        ..around(Path::new("/root"))
    };
    let alice = sudo("alice").person();
    assert_eq!(
        (alice.uid, alice.owner),
        (
            1000,
            Some(Owner {
                uid: 1000,
                gid: 1001
            })
        )
    );
    assert_eq!(alice.config_dir, Path::new("/home/alice/.config"));
    let mallory = sudo("mallory").person();
    assert_eq!((mallory.uid, mallory.owner), (0, None));
    assert_eq!(mallory.config_dir, Path::new("/root/xdg"));
    let unprivileged = Surroundings {
        euid: 7,
        ..sudo("alice")
    };
    assert_eq!(
        (unprivileged.person().uid, unprivileged.person().owner),
        (7, None)
    );
}

#[test]
fn a_path_that_no_file_can_have_is_refused() {
    let text = "[logging]\npath = \"/a\\u0000b\"\n";
    assert_eq!(complaint(text), "[logging] path: '/a\\0b' holds a NUL");
}

#[test]
fn test_switches_are_a_comma_list() {
    let switches = TestSwitches::parse("no-perf, read-delay-ms=50").unwrap();
    assert!(switches.no_perf && !switches.legacy_fanotify);
    assert_eq!(switches.read_delay, Some(Duration::from_millis(50)));
    assert!(TestSwitches::parse("nonsense").is_err());
}
