//! Runs that take minutes (scripts/long): the same laws in contexts as people have them, with the tables.

use npast::agent::{CompressOptions, Input, TurnOptions};
use npast::ledger::Finish;
use npast::slot::CallKind;
use npast::tools::{CallContext, Effect, Tool, ToolAnswer};

use crate::agent::{Bench, calls, says, tool};
use crate::compressions::sixty_turns;
use crate::model::Class;
use crate::talk;

#[test]
#[ignore = "takes minutes; see scripts/long"]
fn sixty_turns_in_a_context_of_8192_tokens_read_nothing_twice_on_every_class() {
    for class in Class::ALL {
        sixty_turns(class, 8192, 100);
    }
}

/// A turn of forty steps whose results are three times the context: they shrink, and no summary is needed.
#[test]
#[ignore = "takes minutes; see scripts/long"]
fn forty_steps_in_a_context_of_16384_tokens_need_no_summary_on_every_class() {
    for class in Class::ALL {
        let mut bench = Bench::thinker(class);
        bench.desk.limit = 16_384;
        let words = |seed: usize| {
            let word = |i: usize| format!("{} ", (i * i * 7 + seed * 131) % 997);
            (0..400).map(word).collect::<String>()
        };
        let tools = || -> Vec<Box<dyn Tool>> {
            let long = move |arguments: &serde_json::Value, _: &CallContext<'_>| {
                let x = arguments["x"].as_str().unwrap_or_default();
                ToolAnswer::good(words(x.parse().unwrap_or(0)))
            };
            vec![tool("read_file", Effect::Reads, long)]
        };
        let mut at = bench.open(&tools);
        let options = TurnOptions {
            compress: Some(CompressOptions {
                prune: true,
                ..CompressOptions::default()
            }),
            ..talk::greedy(400)
        };
        let mut lines: Vec<String> = (0..40)
            .map(|i| calls(&[("read_file", &i.to_string())]))
            .collect();
        lines.push(says("All was seen."));
        let (worked, end) = at.tell(&lines, &|_| false, &mut |at, script, cancel, on| {
            let input = Input::Text("Look at all of it.".into());
            at.talk
                .work(input, &options, Some(&mut at.tools), script, cancel, on)
        });
        let what = format!("{class:?}: {:?}", worked.notices);
        assert_eq!(end.expect("a turn").finish, Finish::Stop, "{what}");
        println!(
            "\n{:<10} step    read  context  results   saved  read again",
            class.as_str()
        );
        let (mut step, mut said, mut saved, mut again) = (0, 0, 0, 0);
        for r in &worked.receipts {
            assert_eq!(
                (&r.miss, r.evaluated <= r.appended),
                (&None, true),
                "{what}: {r:?}"
            );
            match (r.kind, &r.pruned) {
                (CallKind::Turn, None) => {
                    assert_eq!(r.evaluated, r.appended, "{what}: {r:?}");
                    println!("{step:>15} {:>7} {:>8}", r.evaluated, r.context);
                    step += 1;
                    said += r.evaluated + r.generated;
                }
                (CallKind::Idle, Some(pruned)) => {
                    println!(
                        "{:>15} {:>7} {:>8} {:>8} {:>7} {:>11}",
                        "prune", r.evaluated, r.context, pruned.results, pruned.saved, pruned.again
                    );
                    assert!(pruned.again <= 2 * pruned.saved, "{what}: {r:?}");
                    saved += pruned.saved;
                    again += r.evaluated;
                }
                other => panic!("{what}: no summary was needed: {other:?}"),
            }
        }
        println!(
            "{step} calls, {said} tokens in a context of 16,384; {saved} saved, {again} read again"
        );
        assert_eq!(step, 41, "{what}");
        assert!(
            said > 2 * 16_384 && saved > 16_384,
            "{what}: {said} said, {saved} saved"
        );
        at.close();
    }
}
