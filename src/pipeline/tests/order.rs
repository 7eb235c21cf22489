//! Where bits are told that the kernel added to an older record.

use super::*;

/// A file whose name goes, and then is that of `f2`, while somebody has the file open.
fn replaced(giver: Vec<u8>, between: usize) -> Vec<String> {
    let mut bench = Bench::everything();
    let mut records = vec![
        entry(bits::CREATE | bits::DELETE, P, "top", "f", "f1"),
        alone(bits::ATTRIB, P, "f1"),
        giver,
    ];
    for number in 0..between {
        let name = format!("n{number}");
        records.push(entry(bits::CREATE, Q, "top", &name, &name));
    }
    records.extend([
        entry(bits::CLOSE_WRITE, Q, "top", "f", "f1"),
        alone(bits::DELETE_SELF, Q, "f1"),
    ]);
    let told = bench.read(&records);
    told.into_iter()
        .filter(|line| !line.contains("/n"))
        .collect()
}

#[test]
fn a_name_is_removed_before_it_is_given_to_something_else() {
    for between in [0, 40] {
        assert_eq!(
            replaced(entry(bits::CREATE, P, "top", "f", "f2"), between),
            [
                "CREATE /m/f p",
                "ATTRIB /m/f p",
                "DELETE /m/f p",
                "CREATE /m/f p",
                "CLOSE_WRITE /m/f q",
                "DELETE_SELF /m/f q"
            ]
        );
        assert_eq!(
            replaced(rename(0, P, ("top", "x"), ("top", "f"), "f2"), between),
            [
                "CREATE /m/f p",
                "ATTRIB /m/f p",
                "DELETE /m/f p",
                "MOVED_FROM /m/x p <> /m/f",
                "MOVED_TO /m/f p <> /m/x",
                "CLOSE_WRITE /m/f q",
                "DELETE_SELF /m/f q"
            ]
        );
    }
}

#[test]
fn a_name_that_comes_back_is_removed_when_it_is_there_again() {
    let mut bench = Bench::everything();
    assert_eq!(
        bench.read(&[
            entry(bits::CREATE | bits::DELETE, P, "top", "f", "f1"),
            rename(0, P, ("top", "f"), ("top", "g"), "f1"),
            entry(bits::CREATE | bits::DELETE, Q, "top", "f", "f2"),
            rename(0, P, ("top", "g"), ("top", "f"), "f1"),
            alone(bits::ATTRIB, P, "f1"),
        ]),
        [
            "CREATE /m/f p",
            "MOVED_FROM /m/f p <> /m/g",
            "MOVED_TO /m/g p <> /m/f",
            "CREATE /m/f q",
            "DELETE /m/f q",
            "MOVED_FROM /m/g p <> /m/f",
            "MOVED_TO /m/f p <> /m/g",
            "ATTRIB /m/f p",
            "DELETE /m/f p"
        ]
    );
}

#[test]
fn directories_in_each_other_end_from_the_inside() {
    let both = bits::CREATE | bits::DELETE;
    let dir = both | bits::ONDIR;
    let records = [
        entry(dir, P, "top", "a", "A"),
        entry(dir, P, "A", "b", "B"),
        entry(dir, P, "B", "c", "C"),
        entry(both, P, "C", "f", "f1"),
    ];
    let mut bench = Bench::watching(&[("_global", "/m", true, &["CREATE", "DELETE"])]);
    let expected = [
        "CREATE /m/a p",
        "CREATE /m/a/b p",
        "CREATE /m/a/b/c p",
        "CREATE /m/a/b/c/f p",
        "DELETE /m/a/b/c/f p",
        "DELETE /m/a/b/c p",
        "DELETE /m/a/b p",
        "DELETE /m/a p",
    ];
    assert_eq!(bench.read(&records), expected);
    // One that was there before, and whose own record stands behind those inside.
    let mut bench = Bench::watching(&[("_global", "/m", true, &["CREATE", "DELETE"])]);
    bench.read(&[entry(bits::CREATE | bits::ONDIR, P, "top", "a", "A")]);
    let attrib = bits::ATTRIB | bits::DELETE | bits::ONDIR;
    let told = bench.read(&[
        entry(dir, P, "A", "b", "B"),
        entry(dir, P, "B", "c", "C"),
        entry(attrib, P, "top", "a", "A"),
        entry(both, P, "C", "f", "f1"),
        entry(both, P, "C", "g", "f2"),
    ]);
    assert_eq!(
        told[told.len() - 3..],
        ["DELETE /m/a/b/c p", "DELETE /m/a/b p", "DELETE /m/a p"],
        "{told:#?}"
    );
}

#[test]
fn what_is_called_like_a_file_without_a_name_has_its_name_where_that_is_known() {
    // It is gone before anybody can look.
    let mut bench = Bench::everything();
    assert_eq!(
        bench.read(&[
            entry(bits::CLOSE_WRITE, P, "top", "#1", "f1"),
            rename(0, P, ("top", "#1"), ("top", "x"), "f1"),
            entry(bits::CLOSE_WRITE, P, "top", "#2", "f2"),
            entry(bits::DELETE, Q, "top", "#2", "f2"),
        ]),
        [
            "CLOSE_WRITE /m/#1 p",
            "MOVED_FROM /m/#1 p <> /m/x",
            "MOVED_TO /m/x p <> /m/#1",
            "CLOSE_WRITE /m/#2 p",
            "DELETE /m/#2 q"
        ]
    );
    // It has another name since, or was seen by another one last.
    bench.read(&[entry(bits::CREATE, P, "top", "#3", "f3")]);
    assert_eq!(
        bench.read(&[
            entry(bits::CLOSE_WRITE, P, "top", "#3", "f3"),
            entry(bits::CREATE, P, "top", "other", "f3"),
        ]),
        ["CLOSE_WRITE /m/#3 p", "CREATE /m/other p"]
    );
    assert_eq!(
        bench.read(&[entry(bits::CLOSE_WRITE, P, "top", "#3", "f3")]),
        ["CLOSE_WRITE /m/#3 p"]
    );
    // Somebody can look.
    bench.table.files.insert(b"/m/#4".to_vec(), key("f4"));
    let told = bench.read(&[
        entry(bits::CLOSE_WRITE, P, "top", "#4", "f4"),
        entry(bits::CREATE, P, "top", "other", "f4"),
    ]);
    assert!(told.contains(&"CLOSE_WRITE /m/#4 p".to_owned()), "{told:?}");
}
