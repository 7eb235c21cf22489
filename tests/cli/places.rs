//! init, cd, and where files are.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn init_makes_the_directories_and_says_the_same_again() {
    let sandbox = Sandbox::new();
    let expected = format!(
        "Created log directory:  {}\nCreated monitored directory: {}\n",
        sandbox.path(".local/state/fsmon"),
        sandbox.path(".local/share/fsmon")
    );
    for _ in 0..2 {
        let run = sandbox.run(["init"]);
        run.prints("");
        assert_eq!(run.err, expected);
    }
    let file = sandbox.path(".config/fsmon/fsmon.toml");
    fs::remove_file(&file).unwrap();
    let run = sandbox.run(["init"]);
    assert_eq!(
        run.err,
        format!("{expected}(config file is optional — defaults apply without {file})\n")
    );
}

#[test]
fn cd_runs_the_shell_in_the_log_directory_and_hands_on_its_code() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["cd"])
        .fails(1, &["there is no log directory", "fsmon init"]);
    sandbox.run(["init"]);
    let shell = sandbox.home().join("shell");
    fs::write(&shell, "#!/bin/sh\npwd\nexit 7\n").unwrap();
    fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = sandbox
        .command(["cd"])
        .env("SHELL", &shell)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(7));
    assert_eq!(
        String::from_utf8(run.stdout).unwrap(),
        format!("{}\n", sandbox.path(".local/state/fsmon"))
    );
    let dir = sandbox.path(".local/state/fsmon");
    assert_eq!(
        String::from_utf8(run.stderr).unwrap(),
        format!("Entering fsmon log directory (type 'exit' to return)...\n  {dir}\n\n")
    );
    let missing = sandbox
        .command(["cd"])
        .env("SHELL", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8(missing.stderr)
            .unwrap()
            .contains("fsmon: cannot start the shell '/nonexistent'")
    );
}

#[test]
fn the_config_moves_files_and_xdg_moves_the_config() {
    let sandbox = Sandbox::new();
    sandbox.configure("[monitored]\npath = \"~/m/watched.jsonl\"\n");
    sandbox
        .run(["add", "x", "--path", "/usr"])
        .prints("Entry added into monitored\n");
    assert!(sandbox.home().join("m/watched.jsonl").is_file());
    let xdg = sandbox.home().join("xdg");
    fs::create_dir_all(xdg.join("fsmon")).unwrap();
    fs::write(xdg.join("fsmon/fsmon.toml"), "nonsense").unwrap();
    let run = sandbox
        .command(["monitored"])
        .env("XDG_CONFIG_HOME", &xdg)
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
}
