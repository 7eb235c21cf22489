//! Jobs: directories whose events are tagged with the name of a job and what the directory is to it.

use std::fmt;

use hashbrown::HashMap;

/// What a directory is to its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The root of its filesystem.
    Rootfs,
    /// Where it works.
    Workspace,
    /// Where its results go.
    Export,
    /// What it keeps between runs.
    Cache,
}

impl Role {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Rootfs, Self::Workspace, Self::Export, Self::Cache];

    /// The word for it in policy.toml and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rootfs => "rootfs",
            Self::Workspace => "workspace",
            Self::Export => "export",
            Self::Cache => "cache",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A directory of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// What it is to the job.
    pub role: Role,
    /// Absolute and clean.
    pub path: Vec<u8>,
}

/// A job and its directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// Its directories, in the order of the file.
    pub roots: Vec<Root>,
}

/// What an event below a job's directory is tagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// The name of the job.
    pub job_id: &'a str,
    /// What the directory is to it.
    pub role: Role,
}

/// All jobs, prepared for questions about paths.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    list: Vec<Job>,
    /// For each directory, without a slash at its end, the job (its place in the list) and the role.
    by_root: HashMap<Vec<u8>, (usize, Role)>,
    shortest: usize,
    longest: usize,
}

impl Jobs {
    /// Prepares a list of jobs. Of equal directories the first one counts.
    pub fn new(list: Vec<Job>) -> Self {
        let mut by_root = HashMap::new();
        for (job, root) in list
            .iter()
            .enumerate()
            .flat_map(|(at, job)| job.roots.iter().map(move |root| (at, root)))
        {
            let path = root.path.strip_suffix(b"/").unwrap_or(&root.path);
            by_root.entry(path.to_vec()).or_insert((job, root.role));
        }
        let lengths = || by_root.keys().map(Vec::len);
        Self {
            shortest: lengths().min().unwrap_or(0),
            longest: lengths().max().unwrap_or(0),
            list,
            by_root,
        }
    }

    /// The jobs in the order in which they were given.
    pub fn list(&self) -> &[Job] {
        &self.list
    }

    /// The job and the role of the longest directory that `path` is, or lies below, by whole components.
    pub fn tag(&self, path: &[u8]) -> Option<Tag<'_>> {
        if self.by_root.is_empty() {
            return None;
        }
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let mut end = path.len();
        loop {
            if end < self.shortest {
                return None;
            }
            if end <= self.longest
                && let Some((job, role)) = self.by_root.get(&path[..end])
            {
                let job_id = &self.list[*job].id;
                return Some(Tag {
                    job_id,
                    role: *role,
                });
            }
            end = path[..end].iter().rposition(|byte| *byte == b'/')?;
        }
    }
}

impl PartialEq for Jobs {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Jobs {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(id: &str, roots: &[(Role, &str)]) -> Job {
        let roots = roots.iter().map(|(role, path)| Root {
            role: *role,
            path: path.as_bytes().to_vec(),
        });
        Job {
            id: id.to_owned(),
            roots: roots.collect(),
        }
    }

    #[test]
    fn the_longest_directory_wins_by_whole_components() {
        let jobs = Jobs::new(vec![
            job(
                "a",
                &[(Role::Rootfs, "/a/root"), (Role::Workspace, "/a/root/work")],
            ),
            job(
                "b",
                &[
                    (Role::Cache, "/a/root/work"),
                    (Role::Export, "/a/root/work/out"),
                ],
            ),
        ]);
        for (path, tag) in [
            ("/a/root", Some(("a", Role::Rootfs))),
            ("/a/root/", Some(("a", Role::Rootfs))),
            ("/a/root/x", Some(("a", Role::Rootfs))),
            ("/a/root2", None),
            ("/a", None),
            ("/", None),
            ("", None),
            ("/a/root/work/x", Some(("a", Role::Workspace))),
            ("/a/root/work/out/x/y/z", Some(("b", Role::Export))),
            ("/a/root/works", Some(("a", Role::Rootfs))),
        ] {
            let found = jobs.tag(path.as_bytes()).map(|tag| (tag.job_id, tag.role));
            assert_eq!(found, tag, "{path}");
        }
    }

    #[test]
    fn the_root_holds_everything() {
        let jobs = Jobs::new(vec![job("all", &[(Role::Rootfs, "/")])]);
        for path in ["/", "/a", "/a/b"] {
            assert_eq!(jobs.tag(path.as_bytes()).unwrap().job_id, "all");
        }
    }

    fn path() -> impl Strategy<Value = String> {
        proptest::collection::vec("[ab]{1,2}", 0..6)
            .prop_map(|names| format!("/{}", names.join("/")))
    }

    proptest! {
        #[test]
        fn agrees_with_trying_all(
            roots in proptest::collection::vec((path(), 0_usize..4, 0_usize..5), 0..30),
            paths in proptest::collection::vec(path(), 1..30),
        ) {
            let mut list: Vec<Job> = (0..5).map(|at| job(&at.to_string(), &[])).collect();
            for (path, role, job) in roots {
                list[job].roots.push(Root { role: Role::ALL[role], path: path.into_bytes() });
            }
            let jobs = Jobs::new(list.clone());
            for path in paths {
                let mut best: Option<(usize, &str, Role)> = None;
                for job in &list {
                    for root in &job.roots {
                        let length = if root.path == b"/" { 0 } else { root.path.len() };
                        if crate::policy::is_at_or_below(path.as_bytes(), &root.path)
                            && best.is_none_or(|best| length > best.0)
                        {
                            best = Some((length, &job.id, root.role));
                        }
                    }
                }
                let found = jobs.tag(path.as_bytes()).map(|tag| (tag.job_id, tag.role));
                prop_assert_eq!(found, best.map(|(_, id, role)| (id, role)));
            }
        }
    }
}
