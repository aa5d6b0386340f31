//! What a turn with tools writes where a state cannot be cut: one snapshot, however many steps it
//! has, and one more before a tool runs that may take the process with it.

use npast::tools::{Effect, Tool, ToolAnswer};

use crate::agent::{Bench, calls, says, tool};
use crate::model::Class;

fn tools() -> Vec<Box<dyn Tool>> {
    let echo = |a: &serde_json::Value| ToolAnswer::good(a["x"].as_str().unwrap_or_default());
    vec![
        tool("look", Effect::Reads, move |a, _| echo(a)),
        tool("act", Effect::Runs, move |a, _| echo(a)),
    ]
}

#[test]
fn steps_that_only_read_write_one_state_in_all_and_one_that_acts_another_on_every_class() {
    for class in [Class::Swa, Class::Hybrid, Class::Recurrent] {
        let bench = Bench::thinker(class);
        let mut at = bench.open(&tools);
        at.say("Begin.", &[says("Ready.")]).honest();
        let look = |x: &str| calls(&[("look", x)]);
        let worked = at.say(
            "Go.",
            &[look("1"), look("2"), look("3"), look("4"), says("Done.")],
        );
        worked.honest();
        let bytes: Vec<u64> = worked.receipts.iter().map(|r| r.snapshot_bytes).collect();
        assert_eq!(bytes[..4], [0; 4], "{class:?}");
        let one = bytes[4];
        assert!(one > 0, "{class:?}");

        let worked = at.say(
            "Again.",
            &[look("5"), calls(&[("act", "6")]), look("7"), says("Done.")],
        );
        worked.honest();
        let bytes: Vec<u64> = worked.receipts.iter().map(|r| r.snapshot_bytes).collect();
        // That of the step that acts was handed over after its own receipt.
        let written: Vec<bool> = bytes.iter().map(|b| *b >= one / 2).collect();
        assert_eq!(written, [false, false, true, true], "{class:?}: {bytes:?}");

        // A turn that npast ends, and a process that ends with it.
        at.tools.budget.steps = 1;
        let worked = at.say("More.", &[look("8"), look("9")]);
        let bytes: Vec<u64> = worked.receipts.iter().map(|r| r.snapshot_bytes).collect();
        assert_eq!(bytes, [0, 0], "{class:?}");
        at.close();
        let mut at = bench.open(&tools);
        at.say("Go on.", &[says("Done.")]).honest();
    }
}
