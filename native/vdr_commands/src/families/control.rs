//! The stream's own words: commands that arrive in it and change no data.

use crate::row::Control;
use crate::row::Role::{Exec, Ignored, Multi, Ping, Replconf, Select};

pub const CONTROLS: &[Control] = &[
    Control { name: "select", role: Select },
    Control { name: "multi", role: Multi },
    Control { name: "exec", role: Exec },
    Control { name: "replconf", role: Replconf },
    Control { name: "ping", role: Ping },
    Control { name: "publish", role: Ignored },
    Control { name: "spublish", role: Ignored },
    Control { name: "function", role: Ignored },
    Control { name: "script", role: Ignored },
    Control { name: "opinfo", role: Ignored },
    Control { name: "wait", role: Ignored },
    Control { name: "asking", role: Ignored },
    Control { name: "readonly", role: Ignored },
    Control { name: "pfselftest", role: Ignored },
];
