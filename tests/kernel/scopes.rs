//! What belongs to a watch: its path, depth, exclusions, and what becomes of a path that comes and goes.

#[path = "scopes/mounts.rs"]
mod mounts;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Suite;
use crate::ground::{Fs, Ground};
use crate::lines::Line;
use crate::recorder::Home;

pub(crate) fn list(suite: &mut Suite) {
    mounts::list(suite);
    for kind in Fs::MAIN {
        suite.on(kind, "path_that_does_not_exist_yet", not_yet);
        suite.on(kind, "root_deleted_and_made_again", root_again);
    }
    suite.on(Fs::Overlay, "path_that_does_not_exist_yet", not_yet);
    suite.one("single_file", single_file);
    suite.one("not_recursive", not_recursive);
    suite.one("max_depth", max_depth);
    suite.one("exclude", exclude);
    suite.one("size_rule", size_rule);
    suite.one("path_through_a_symbolic_link", through_a_link);
    suite.one("overlapping_watches_of_one_group", overlapping);
    suite.one("second_path_with_more_types", more_types);
    suite.one("root_moved_away", root_moved_away);
    suite.one("log_directory_inside_the_watch", log_inside);
    suite.one("slash", slash);
}

/// A home, a filesystem, and a directory beside the watched one for markers.
struct Scene {
    home: Home,
    root: PathBuf,
    marks: PathBuf,
    ground: Ground,
}

impl Scene {
    fn on(kind: Fs) -> Self {
        let ground = Ground::new();
        let root = ground.mount(kind);
        let marks = root.join("marks");
        fs::create_dir(&marks).unwrap();
        let home = Home::new(&ground);
        home.watch("_global", &marks, &["-t", "CREATE"]);
        Self {
            home,
            root,
            marks,
            ground,
        }
    }

    /// Watches `path`, does `work` while the daemon records, and returns what was told of it: the type
    /// and the path from the root of the filesystem on.
    fn told(&self, path: &str, flags: &[&str], work: impl FnOnce(&Path)) -> Vec<String> {
        self.home.watch("_global", &self.root.join(path), flags);
        let mut recorder = self.home.start();
        work(&self.root);
        recorder.settle("_global", &self.marks);
        recorder.stop();
        self.lines()
    }

    fn lines(&self) -> Vec<String> {
        self.home
            .log("_global")
            .iter()
            .map(|line| short(line, &self.root))
            .collect()
    }
}

fn short(line: &Line, root: &Path) -> String {
    let path = line
        .path
        .strip_prefix(root.as_os_str().as_bytes())
        .unwrap_or(&line.path);
    format!("{} {}", line.kind, path.escape_ascii())
}

fn write(path: &Path) {
    fs::write(path, "x").unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn single_file() {
    let scene = Scene::on(Fs::Ext4);
    write(&scene.root.join("file"));
    let told = scene.told("file", &[], |root| {
        write(&root.join("file2"));
        set_mode(&root.join("file"), 0o600);
        write(&root.join("file"));
        fs::remove_file(root.join("file")).unwrap();
        write(&root.join("other"));
        fs::rename(root.join("other"), root.join("file")).unwrap();
        fs::rename(root.join("file"), root.join("off")).unwrap();
        write(&root.join("off"));
    });
    let mut kinds: Vec<&str> = told
        .iter()
        .map(|line| line.strip_suffix(" /file").expect(line))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    // The other file is called so when its MOVE_SELF is told.
    assert_eq!(
        kinds,
        [
            "ATTRIB",
            "CLOSE_WRITE",
            "DELETE",
            "DELETE_SELF",
            "MOVED_FROM",
            "MOVED_TO",
            "MOVE_SELF"
        ]
    );
}

fn not_recursive() {
    let scene = Scene::on(Fs::Ext4);
    fs::create_dir_all(scene.root.join("dir/sub")).unwrap();
    let told = scene.told("dir", &["-t", "CREATE,ATTRIB"], |root| {
        write(&root.join("dir/child"));
        write(&root.join("dir/sub/grandchild"));
        set_mode(&root.join("dir"), 0o700);
        set_mode(&root.join("dir/sub"), 0o700);
        fs::create_dir(root.join("dir/new")).unwrap();
        write(&root.join("dir/new/grandchild"));
        fs::create_dir(root.join("dir2")).unwrap();
        write(&root.join("dir2/child"));
    });
    assert_eq!(
        told,
        [
            "CREATE /dir/child",
            "ATTRIB /dir",
            "ATTRIB /dir/sub",
            "CREATE /dir/new"
        ]
    );
}

fn max_depth() {
    let scene = Scene::on(Fs::Ext4);
    let told = scene.told("", &["-r", "--max-depth", "2", "-t", "CREATE"], |root| {
        fs::create_dir_all(root.join("1/2/3/4")).unwrap();
        write(&root.join("1/f"));
        write(&root.join("1/2/f"));
        fs::rename(root.join("1/2/3"), root.join("up")).unwrap();
        write(&root.join("up/g"));
        write(&root.join("up/4/g"));
    });
    assert_eq!(
        told,
        ["CREATE /1", "CREATE /1/2", "CREATE /1/f", "CREATE /up/g"]
    );
}

fn exclude() {
    let scene = Scene::on(Fs::Ext4);
    let told = scene.told(
        "",
        &[
            "-r",
            "-t",
            "CREATE",
            "-x",
            "target/",
            "-x",
            "*.swp",
            "-x",
            "**/node_modules",
            "-x",
            "/top",
        ],
        |root| {
            for dir in [
                "target/deep",
                "a/target/deep",
                "a/node_modules/x",
                "top",
                "a/top",
            ] {
                fs::create_dir_all(root.join(dir)).unwrap();
            }
            for file in [
                "target/deep/f",
                "a/target/f",
                "x.swp",
                "a/x.swp",
                "a/x.swpp",
                "a/node_modules/x/f",
                "top/f",
                "a/top/f",
            ] {
                write(&root.join(file));
            }
        },
    );
    assert_eq!(
        told,
        [
            "CREATE /a",
            "CREATE /a/top",
            "CREATE /a/x.swpp",
            "CREATE /a/top/f"
        ]
    );
}

fn size_rule() {
    let scene = Scene::on(Fs::Ext4);
    let told = scene.told("", &["-r", "-t", "CLOSE_WRITE", "-s", ">=1KB"], |root| {
        fs::write(root.join("small"), "x").unwrap();
        fs::write(root.join("big"), vec![0; 1024]).unwrap();
    });
    assert_eq!(told, ["CLOSE_WRITE /big"]);
}

fn through_a_link() {
    let scene = Scene::on(Fs::Ext4);
    fs::create_dir_all(scene.root.join("real/dir")).unwrap();
    symlink("real", scene.root.join("link")).unwrap();
    let told = scene.told("link/dir", &["-r", "-t", "CREATE"], |root| {
        write(&root.join("link/dir/f"));
        symlink("../../marks", root.join("real/dir/out")).unwrap();
        write(&root.join("real/dir/out/f"));
    });
    assert_eq!(
        told,
        [
            "CREATE /real/dir/f",
            "CREATE /real/dir/out",
            "CREATE /marks/f"
        ]
    );
}

/// One line for each event, with the types of the deepest watch that covers it.
fn overlapping() {
    let scene = Scene::on(Fs::Ext4);
    fs::create_dir_all(scene.root.join("a/b")).unwrap();
    scene.home.watch(
        "_global",
        &scene.root.join("a"),
        &["-r", "-t", "CREATE,DELETE"],
    );
    let told = scene.told("a/b", &["-r", "-t", "DELETE,CLOSE_WRITE"], |root| {
        write(&root.join("a/f"));
        write(&root.join("a/b/f"));
        fs::remove_file(root.join("a/b/f")).unwrap();
        fs::remove_file(root.join("a/f")).unwrap();
    });
    let mut told = told;
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "CLOSE_WRITE /a/b/f",
            "CREATE /a/f",
            "DELETE /a/b/f",
            "DELETE /a/f"
        ]
    );
}

/// A second watch on one filesystem asks the kernel for more than the first, at once and after a restart.
fn more_types() {
    let scene = Scene::on(Fs::Ext4);
    let dirs = [scene.root.join("a"), scene.root.join("c")];
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
    }
    let mut recorder = scene.home.start();
    scene
        .home
        .watch("_global", &dirs[0], &["-r", "-t", "CREATE"]);
    scene.home.watch("_global", &dirs[1], &["-r"]);
    for file in ["1", "2"] {
        for dir in &dirs {
            write(&dir.join(file));
        }
        recorder.settle("_global", &scene.marks);
        recorder.stop();
        recorder = scene.home.start();
    }
    recorder.stop();
    let one = |file: &str| {
        vec![
            format!("CREATE /a/{file}"),
            format!("CREATE /c/{file}"),
            format!("CLOSE_WRITE /c/{file}"),
        ]
    };
    assert_eq!(scene.lines(), [one("1"), one("2")].concat());
}

fn not_yet(kind: Fs) {
    let scene = Scene::on(kind);
    let told = scene.told("a/b/c", &["-r", "-t", "CREATE,DELETE"], |root| {
        let script = "for turn in 1 2 3; do mkdir -p a/b/c && echo > a/b/c/f; rm -rf a; done; mkdir -p a/b/c/d && echo > a/b/c/d/f";
        assert!(Command::new("sh").args(["-c", script]).current_dir(root).status().unwrap().success());
    });
    let turn = [
        "CREATE /a/b/c",
        "CREATE /a/b/c/f",
        "DELETE /a/b/c/f",
        "DELETE /a/b/c",
    ];
    let mut expected = [turn, turn, turn].concat();
    expected.extend(["CREATE /a/b/c", "CREATE /a/b/c/d", "CREATE /a/b/c/d/f"]);
    let (mut told, mut wanted) = (told, expected);
    if kind == Fs::Overlay {
        // Where each directory needs a mark of its own, the order between them may be lost.
        told.sort_unstable();
        wanted.sort_unstable();
    }
    assert_eq!(told, wanted);
}

fn root_again(kind: Fs) {
    let scene = Scene::on(kind);
    let root = scene.root.clone();
    fs::create_dir(root.join("dir")).unwrap();
    scene.home.watch(
        "_global",
        &root.join("dir"),
        &["-r", "-t", "CREATE,DELETE,DELETE_SELF"],
    );
    let mut recorder = scene.home.start();
    for _ in 0..2 {
        write(&root.join("dir/f"));
        fs::remove_dir_all(root.join("dir")).unwrap();
        recorder.settle("_global", &scene.marks);
        fs::create_dir(root.join("dir")).unwrap();
        write(&root.join("dir/g"));
        recorder.settle("_global", &scene.marks);
        fs::remove_file(root.join("dir/g")).unwrap();
    }
    recorder.settle("_global", &scene.marks);
    recorder.stop();
    let mut told = scene.lines();
    // Its own end is told before or behind its DELETE: whoever looks at it just then delays it.
    let ends = told
        .iter()
        .filter(|line| *line == "DELETE_SELF /dir")
        .count();
    assert_eq!(ends, 2, "{told:?}");
    told.retain(|line| !line.starts_with("DELETE_SELF /dir"));
    let turn = [
        "CREATE /dir/f",
        "DELETE /dir/f",
        "DELETE /dir",
        "CREATE /dir",
        "CREATE /dir/g",
        "DELETE /dir/g",
    ];
    assert_eq!(told, [turn, turn].concat());
    assert_eq!(
        scene.home.journal_of("ROOT_GONE").len(),
        2,
        "{:?}",
        scene.home.journal()
    );
    assert_eq!(
        scene.home.journal_of("ROOT_BACK").len(),
        2,
        "{:?}",
        scene.home.journal()
    );
}

fn root_moved_away() {
    let scene = Scene::on(Fs::Ext4);
    fs::create_dir(scene.root.join("dir")).unwrap();
    let told = scene.told("dir", &["-r", "-t", "CREATE,MOVED_FROM,MOVED_TO"], |root| {
        fs::rename(root.join("dir"), root.join("away")).unwrap();
        write(&root.join("away/not-told"));
        fs::create_dir(root.join("dir")).unwrap();
        write(&root.join("dir/told"));
        fs::remove_dir_all(root.join("dir")).unwrap();
        fs::rename(root.join("away"), root.join("dir")).unwrap();
        write(&root.join("dir/again"));
    });
    let wanted = [
        "MOVED_FROM /dir",
        "CREATE /dir",
        "CREATE /dir/told",
        "MOVED_TO /dir",
        "CREATE /dir/again",
    ];
    assert_eq!(told, wanted);
}

/// The daemon leaves its own writing out, and tells when anybody else touches a log.
fn log_inside() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Ext4);
    fs::create_dir(root.join("home")).unwrap();
    let home = Home::at(root.join("home"));
    home.watch("_global", &root, &["-r", "-t", "all"]);
    let mut recorder = home.start();
    write(&root.join("f"));
    recorder.settle("_global", &root);
    recorder.settle("_global", &root);
    let pid = recorder.pid();
    fs::OpenOptions::new()
        .append(true)
        .open(home.log_path("_global"))
        .unwrap()
        .sync_all()
        .unwrap();
    set_mode(&home.log_path("_global"), 0o640);
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    let own = lines.iter().find(|line| line.pid == pid);
    assert!(
        own.is_none(),
        "the daemon tells of itself: {}",
        own.unwrap().show()
    );
    let log = home.log_path("_global");
    let touched = lines
        .iter()
        .filter(|line| line.kind == "ATTRIB" && line.path == log.as_os_str().as_bytes());
    assert_eq!(touched.count(), 1);
}

/// `/` itself: its own children have one slash, and what is on other filesystems below it is told too.
fn slash() {
    let ground = Ground::new();
    let root = ground.mount(Fs::Tmpfs);
    let home = Home::new(&ground);
    home.watch("_global", Path::new("/"), &["-r", "-t", "CREATE"]);
    let mut recorder = home.start();
    let at_top = format!("/fsmon-kernel-{}", std::process::id());
    fs::create_dir(&at_top).unwrap();
    fs::remove_dir(&at_top).unwrap();
    write(&root.join("file"));
    recorder.settle("_global", &root);
    recorder.stop();
    let lines = home.log("_global");
    for path in [Path::new(&at_top), &root.join("file")] {
        let count = lines
            .iter()
            .filter(|line| line.path == path.as_os_str().as_bytes())
            .count();
        assert_eq!(count, 1, "{}", path.display());
    }
}
