//! Random histories, judged and counted by hand.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::policy::MUTATING;

/// Random events by a few processes at times that do not go back.
fn history() -> impl Strategy<Value = Vec<(FileEvent, u64)>> {
    let gap = prop_oneof![
        Just(0),
        Just(SECOND),
        Just(SECOND - 1),
        0..SECOND,
        0..3 * SECOND
    ];
    let step = (gap, 0_usize..14, "/[ab](/[ab])?", 0_u64..3);
    proptest::collection::vec(step, 1..150).prop_map(|steps| {
        let mut now = 0;
        let events = steps.into_iter().map(|(gap, kind, path, life)| {
            now += gap;
            (event(EventType::ALL[kind], &path, now), life)
        });
        events.collect()
    })
}

proptest! {
    #[test]
    fn a_cooldown_only_leaves_out(history in history(), cooldown in 0_u64..4) {
        let rules = [
            Rule::canary("c", patterns(&["/a/*"])),
            Rule::burst("b", 3.try_into().unwrap(), Duration::from_secs(2)),
            Rule::outside("o", vec!["agent".into()], vec![b"/a".to_vec()]),
        ];
        let cooled = rules.clone().map(|rule| Rule { cooldown: Duration::from_secs(cooldown), ..rule });
        let mut all = judge_of(rules.map(never_silent));
        let mut some = judge_of(cooled);
        let span = i64::try_from(cooldown).unwrap() * SECOND;
        let mut told: HashMap<(u16, u64), i64> = HashMap::new();
        for (event, life) in history {
            for rule in 0..3 {
                let mut who = process(life, &["agent"]);
                let verdict = all.judge(rule, &event, &mut who);
                let time = event.time.0;
                let is_silent = told.get(&(rule, life)).is_some_and(|last| time - last < span);
                if verdict.is_some() && !is_silent {
                    told.insert((rule, life), time);
                }
                let wanted = if is_silent { None } else { verdict };
                prop_assert_eq!(some.judge(rule, &event, &mut who), wanted);
            }
        }
    }

    #[test]
    fn a_burst_alerts_when_counting_all_says_so(history in history()) {
        let rule = Rule::burst("b", 4.try_into().unwrap(), Duration::from_secs(1));
        let mut judge = judge_of([never_silent(rule)]);
        let mut model: HashMap<u64, Vec<i64>> = HashMap::new();
        for (event, life) in history {
            let mut wanted = None;
            if MUTATING.contains(event.kind) {
                let times = model.entry(life).or_default();
                times.push(event.time.0);
                let count = times.iter().filter(|time| event.time.0 - **time <= SECOND).count();
                wanted = (count >= 4).then_some(count as u64);
            }
            let alert = judge.judge(0, &event, &mut process(life, &[]));
            prop_assert_eq!(alert.and_then(|alert| alert.count), wanted);
        }
    }
}
