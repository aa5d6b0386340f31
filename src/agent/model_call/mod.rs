//! One model call on the conversation: what is sampled is stored, then shown, then accounted for.
//!
//! In the order in which these files import each other:
//! - `sum`: the sums of a turn's receipts.
//! - `seed`: the seed of each call.
//! - `script`: prepared replies instead of sampled ones.
//! - `watch`: stop strings.
//! - `unshown`: how likely tokens were whose text is not shown yet.
//! - `coming`: a reply as it comes: tokens to text, what is not stored yet, what is not shown yet.
//! - `reason`: why tokens were evaluated again, in a sentence.
//! - `receipt`: the receipt of a call.
//! - `inbox`: the events of a call, with a clock.
//! - `record`: sends the call, stores what comes, shows what is stored.
//! - `answer`: the whole call: format, call, end of the reply, receipt.
//! - `complete`: a call that belongs to no conversation: what follows a text or tokens.

pub(in crate::agent) mod answer;
pub(in crate::agent) mod coming;
pub(in crate::agent) mod complete;
pub(in crate::agent) mod inbox;
pub(in crate::agent) mod reason;
pub(in crate::agent) mod receipt;
pub(in crate::agent) mod record;
pub(in crate::agent) mod script;
pub(in crate::agent) mod seed;
pub(in crate::agent) mod sum;
pub(in crate::agent) mod unshown;
pub(in crate::agent) mod watch;
