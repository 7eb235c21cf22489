//! The manifest that lies beside the logs.

use fsmon::manifest::file;

pub fn body(bytes: &[u8]) {
    const MOST: usize = 50;
    let read = file::read(bytes, MOST).expect("memory can be read");
    let Some(manifest) = read else { return };
    assert!(manifest.tree.len() <= MOST);
    let mut written = Vec::new();
    file::write(&manifest, &mut written).expect("memory can be written");
    let again = file::read(&written[..], MOST).expect("memory can be read");
    assert_eq!(again, Some(manifest));
}
