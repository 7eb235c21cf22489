//! For whom this runs: the user of the process, or the one behind sudo.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::ensure;

use crate::sys::account::{Account, account, effective_uid};
use crate::sys::files::Owner;

/// What the environment says, as values, so that tests need no environment.
pub(super) struct Surroundings {
    pub(super) euid: u32,
    pub(super) home: Option<PathBuf>,
    pub(super) xdg_config_home: Option<PathBuf>,
    pub(super) sudo_uid: Option<u32>,
    pub(super) sudo_gid: Option<u32>,
    pub(super) sudo_user: Option<OsString>,
    pub(super) test: String,
    pub(super) account: fn(u32) -> Option<Account>,
}

/// For whom this runs.
pub(super) struct Person {
    pub(super) uid: u32,
    pub(super) owner: Option<Owner>,
    pub(super) home: PathBuf,
    pub(super) config_dir: PathBuf,
}

impl Surroundings {
    pub(super) fn of_process() -> Self {
        let number = |name| env::var(name).ok().and_then(|text| text.parse().ok());
        // HOME, else the database; and XDG_CONFIG_HOME, else ~/.config.
        let base = directories::BaseDirs::new();
        let absolute = |path: &Path| Some(path.to_owned()).filter(|path| path.is_absolute());
        Self {
            euid: effective_uid(),
            home: base.as_ref().and_then(|base| absolute(base.home_dir())),
            xdg_config_home: base.as_ref().and_then(|base| absolute(base.config_dir())),
            sudo_uid: number("SUDO_UID"),
            sudo_gid: number("SUDO_GID"),
            sudo_user: env::var_os("SUDO_USER"),
            test: env::var("FSMON_TEST").unwrap_or_default(),
            account,
        }
    }

    pub(super) fn person(&self) -> Person {
        if let Some(person) = self.person_behind_sudo() {
            return person;
        }
        let home = self.home.clone();
        let home = home.or_else(|| (self.account)(self.euid).map(|account| account.home));
        let home = home.unwrap_or_else(|| PathBuf::from("/root"));
        let config_dir = self
            .xdg_config_home
            .clone()
            .unwrap_or_else(|| home.join(".config"));
        Person {
            uid: self.euid,
            owner: None,
            home,
            config_dir,
        }
    }

    /// SUDO_UID alone is just a variable: it counts when the database gives it the name in SUDO_USER.
    fn person_behind_sudo(&self) -> Option<Person> {
        let uid = self.sudo_uid.filter(|uid| self.euid == 0 && *uid != 0)?;
        let found =
            (self.account)(uid).filter(|found| Some(&found.name) == self.sudo_user.as_ref())?;
        let gid = self.sudo_gid.unwrap_or(found.gid);
        let config_dir = found.home.join(".config");
        Some(Person {
            uid,
            owner: Some(Owner { uid, gid }),
            home: found.home,
            config_dir,
        })
    }
}

impl Person {
    pub(super) fn config_file(&self) -> PathBuf {
        self.config_dir.join("fsmon/fsmon.toml")
    }

    pub(super) fn expand(&self, typed: &str, key: &str) -> anyhow::Result<PathBuf> {
        let typed = typed.replace("<UID>", &self.uid.to_string());
        let path = match typed.strip_prefix('~') {
            Some(below) if below.is_empty() || below.starts_with('/') => {
                self.home.join(below.trim_start_matches('/'))
            }
            _ => PathBuf::from(&typed),
        };
        ensure!(
            path.is_absolute(),
            "{key}: '{}' is not an absolute path",
            typed.escape_debug()
        );
        ensure!(
            !typed.contains('\0'),
            "{key}: '{}' holds a NUL",
            typed.escape_debug()
        );
        Ok(path)
    }
}
