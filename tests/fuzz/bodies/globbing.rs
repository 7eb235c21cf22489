//! What patterns mean, from the manual and as plainly as it can be said: a table of all beginnings of the
//! pattern and of the path, filled from the end.

/// Whether a path pattern means an absolute path.
pub fn matches(pattern: &str, path: &[u8]) -> bool {
    let body = pattern.strip_prefix('/').unwrap_or(pattern);
    let body = body.strip_suffix('/').unwrap_or(body);
    path.len() > 1 && path_fits(body, &path[1..])
}

/// Whether gitignore(5) leaves a path out, itself or through a directory above it.
pub fn excludes(patterns: &[&str], path: &[u8], is_dir: Option<bool>) -> bool {
    if path.is_empty() {
        return false;
    }
    let ends = (0..path.len()).filter(|at| path[*at] == b'/');
    let mut above = ends.map(|at| (&path[..at], true));
    above.any(|(dir, is_dir)| hits(patterns, dir, is_dir))
        || hits(patterns, path, is_dir == Some(true))
}

fn hits(patterns: &[&str], path: &[u8], is_dir: bool) -> bool {
    let mut excluded = false;
    for pattern in patterns {
        let (is_negated, body) = match pattern.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, *pattern),
        };
        let (only_dirs, body) = match body.strip_suffix('/') {
            Some(body) => (true, body),
            None => (false, body),
        };
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let fits = match body.contains('/') {
            true => path_fits(body.strip_prefix('/').unwrap_or(body), path),
            false => path_fits(body, name),
        };
        if fits && (is_dir || !only_dirs) {
            excluded = !is_negated;
        }
    }
    excluded
}

fn path_fits(pattern: &str, path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = pattern.split('/').map(str::as_bytes).collect();
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    // fits[at]: whether the parts looked at so far mean what stands from the name `at` on.
    let mut fits: Vec<bool> = (0..=names.len()).map(|at| at == names.len()).collect();
    for (number, part) in parts.iter().enumerate().rev() {
        let mut longer = vec![false; names.len() + 1];
        for at in (0..=names.len()).rev() {
            longer[at] = match *part {
                // At the end it stands for what is inside, so for a name at least.
                b"**" if number + 1 == parts.len() => at < names.len(),
                b"**" => fits[at] || (at < names.len() && longer[at + 1]),
                part => at < names.len() && fits[at + 1] && name_fits(part, names[at]),
            };
        }
        fits = longer;
    }
    fits[0]
}

enum Sign {
    Star,
    Any,
    Byte(u8),
    Class(bool, Vec<(u8, u8)>),
}

fn name_fits(glob: &[u8], name: &[u8]) -> bool {
    let signs = signs(glob);
    let mut fits: Vec<bool> = (0..=name.len()).map(|at| at == name.len()).collect();
    for sign in signs.iter().rev() {
        let mut longer = vec![false; name.len() + 1];
        for at in (0..=name.len()).rev() {
            let takes =
                |wanted: &dyn Fn(u8) -> bool| at < name.len() && wanted(name[at]) && fits[at + 1];
            longer[at] = match sign {
                Sign::Star => fits[at] || (at < name.len() && longer[at + 1]),
                Sign::Any => takes(&|_| true),
                Sign::Byte(byte) => takes(&|other| other == *byte),
                Sign::Class(is_negated, ranges) => takes(&|other| {
                    ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&other))
                        != *is_negated
                }),
            };
        }
        fits = longer;
    }
    fits[0]
}

/// The signs of a pattern that has been found well formed.
fn signs(glob: &[u8]) -> Vec<Sign> {
    let (mut signs, mut at) = (Vec::new(), 0);
    while at < glob.len() {
        match glob[at] {
            b'*' => signs.push(Sign::Star),
            b'?' => signs.push(Sign::Any),
            b'\\' => {
                at += 1;
                signs.push(Sign::Byte(glob[at]));
            }
            b'[' => {
                at += 1;
                let is_negated = matches!(glob[at], b'!' | b'^');
                at += usize::from(is_negated);
                let mut ranges = Vec::new();
                while glob[at] != b']' || ranges.is_empty() {
                    let low = member(glob, &mut at);
                    let is_range = glob[at] == b'-' && glob[at + 1] != b']';
                    at += usize::from(is_range);
                    let high = if is_range { member(glob, &mut at) } else { low };
                    ranges.push((low, high));
                }
                signs.push(Sign::Class(is_negated, ranges));
            }
            byte => signs.push(Sign::Byte(byte)),
        }
        at += 1;
    }
    signs
}

fn member(glob: &[u8], at: &mut usize) -> u8 {
    *at += usize::from(glob[*at] == b'\\');
    *at += 1;
    glob[*at - 1]
}
