//! The table.
use super::record::ProcRecord;
use crate::event::Attribution;
use std::sync::Arc;

/// Who.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "stub")]
pub struct Who {
    pub tgid: u32,
    pub ppid: u32,
    pub comm: Arc<str>,
    pub exe: Option<Arc<str>>,
    pub user: Arc<str>,
    pub attribution: Attribution,
}
/// Table.
#[derive(Debug, Default)]
pub struct ProcTable {}
#[expect(missing_docs, reason = "stub")]
impl ProcTable {
    pub fn identify(&mut self, pid: u32, _when: u64) -> Who {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        Who {
            tgid: pid,
            ppid: 0,
            comm: comm.into(),
            exe: None,
            user: "root".into(),
            attribution: Attribution::Unknown,
        }
    }
    pub fn belongs_to(&self, _pid: u32, _when: u64, _group: &str) -> bool {
        true
    }
    pub fn chain(&self, _pid: u32, _when: u64) -> String {
        String::new()
    }
    pub fn apply(&mut self, _r: &ProcRecord) {}
}
