//! `doctor` tells what the layout of an SWA window costs on this machine.

use crate::model::Class;
use crate::rig::{Rig, cost, tokens};

#[test]
fn the_windows_cost_is_measured_where_there_is_one_and_the_slot_goes_on_afterwards() {
    for class in Class::ALL {
        let mut rig = Rig::new(class, None);
        let measured = rig.window_cost();
        assert_eq!(measured.is_some(), class == Class::Swa, "{class:?}");
        if let Some(measured) = measured {
            assert_eq!((measured.window, measured.filled), (32, 32));
            assert!(measured.bytes > 0 && measured.ms > 0.0);
        }
        assert_eq!(rig.held(), []);
        let (prompt, said) = (tokens(1, 100), tokens(2, 5));
        let (outcome, seen) = rig.say(&prompt, &said);
        assert_eq!(cost(&outcome), (0, 0, 100, 100, false), "{class:?}");
        let (_, expected) = Rig::new(class, None).say(&prompt, &said);
        assert!(seen == expected, "{class:?}");
    }
}
