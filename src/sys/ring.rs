//! Records in a ring of bytes, as perf_event_open(2) lays them out: <https://man7.org/linux/man-pages/man2/perf_event_open.2.html>
//!
//! Arithmetic on numbers that come from outside, apart from the mapping, so that it can be run on any bytes.

/// One record as it lies in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// `RECORD_*`.
    pub kind: u32,
    /// Flag bits, their meaning depends on the kind.
    pub misc: u16,
    /// What follows the header; its last eight bytes are the record's time.
    pub body: &'a [u8],
}

/// What lies between the two ends of a ring.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// Bytes of the ring, a power of two and at least eight.
    pub size: usize,
    /// How many bytes have ever been read.
    pub tail: u64,
    /// How many bytes have ever been written.
    pub head: u64,
}

impl Filled {
    /// Hands each record to `each`, oldest first; `bytes` gives a range of the ring that does not cross its
    /// end, `seam` is room for records that do. Returns whether all was records: what stands behind bytes
    /// that are none cannot be found any more.
    pub fn walk<'r>(
        self,
        seam: &mut Vec<u8>,
        bytes: impl Fn(usize, usize) -> &'r [u8],
        mut each: impl FnMut(RawRecord<'_>),
    ) -> bool {
        let Self { size, tail, head } = self;
        let mut left = match usize::try_from(head.wrapping_sub(tail)) {
            Ok(left) if left <= size => left,
            _ => return false,
        };
        // The size is a power of two, so nothing is lost where both ends start again from zero.
        let mut at = tail as usize & (size - 1);
        while left > 0 {
            // Records are multiples of eight bytes long, so a header never crosses the end.
            if left < HEADER || !at.is_multiple_of(HEADER) {
                return false;
            }
            let header = bytes(at, HEADER);
            let kind = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let misc = u16::from_ne_bytes([header[4], header[5]]);
            let len = usize::from(u16::from_ne_bytes([header[6], header[7]]));
            if len < HEADER || len > left || !len.is_multiple_of(HEADER) {
                return false;
            }
            let body = if at + len <= size {
                bytes(at + HEADER, len - HEADER)
            } else {
                let first = size - at - HEADER;
                seam.clear();
                seam.extend_from_slice(bytes(at + HEADER, first));
                seam.extend_from_slice(bytes(0, len - HEADER - first));
                seam.as_slice()
            };
            each(RawRecord { kind, misc, body });
            at = (at + len) & (size - 1);
            left -= len;
        }
        true
    }
}

/// `struct perf_event_header`: type u32, misc u16, size u16.
const HEADER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(filled: Filled, ring: &[u8]) -> (Vec<(u32, Vec<u8>)>, bool) {
        let mut found = Vec::new();
        let bytes = |from, len| &ring[from..from + len];
        let is_whole = filled.walk(&mut Vec::new(), bytes, |raw| {
            found.push((raw.kind, raw.body.to_vec()));
        });
        (found, is_whole)
    }

    fn put(ring: &mut [u8], at: usize, kind: u8, length: u8) {
        ring[at..at + 8].copy_from_slice(&[kind, 0, 0, 0, 0, 0, length, 0]);
    }

    #[test]
    fn a_record_across_the_end_is_read_in_one_piece() {
        let mut ring: Vec<u8> = (0..64).collect();
        put(&mut ring, 48, 3, 24);
        put(&mut ring, 8, 4, 8);
        let filled = Filled {
            size: 64,
            tail: u64::MAX - 15,
            head: 16,
        };
        let body = [
            &[56, 57, 58, 59, 60, 61, 62, 63][..],
            &[0, 1, 2, 3, 4, 5, 6, 7],
        ]
        .concat();
        assert_eq!(walk(filled, &ring), (vec![(3, body), (4, vec![])], true));
    }

    #[test]
    fn what_is_no_record_ends_the_walk() {
        for (length, tail, head) in [(0, 0, 16), (4, 0, 16), (12, 0, 64), (24, 0, 16), (8, 4, 20)] {
            let mut ring = [0; 64];
            put(&mut ring, tail as usize, 3, length);
            let filled = Filled {
                size: 64,
                tail,
                head,
            };
            assert_eq!(walk(filled, &ring), (Vec::new(), false), "{length}");
        }
        let more_than_there_is = Filled {
            size: 64,
            tail: 0,
            head: 65,
        };
        assert_eq!(walk(more_than_there_is, &[0; 64]), (Vec::new(), false));
    }
}
