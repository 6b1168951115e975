//! OpenMLS as a foreign peer for what the working group's interop interface has no calls for: the mls-extensions
//! draft and what is built on it.
//!
//! It reads one JSON object a line and answers each with one: `{"call": NAME, ...}` is answered by
//! `{"ok": {...}}`, by `{"refused": WHY}` if OpenMLS would not do it, or by `{"wrong": WHY}` if the call itself makes
//! no sense. Bytes are hexadecimal, numbers are numbers. It ends with its input. Randomness and the clock are the
//! system's. `calls` has the table of calls; the other rooms implement them, by subject.

mod calls;
mod components;
mod desk;
mod emulation;
mod encoding;
mod groups;
mod handshake;
mod messages;
mod secrets;
mod settings;
mod wire;

use std::io::{BufRead, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::desk::Desk;
use crate::wire::{Failure, Fields};

fn answer(desk: &mut Desk, line: &str) -> Value {
    let outcome = serde_json::from_str::<Value>(line)
        .map_err(|error| Failure::Wrong(error.to_string()))
        .and_then(|request| calls::perform(desk, &Fields::of(&request)?));
    match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(Failure::Refused(why)) => json!({ "refused": why }),
        Err(Failure::Wrong(why)) => json!({ "wrong": why }),
    }
}

fn serve() -> std::io::Result<()> {
    let mut desk = Desk::default();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        writeln!(output, "{}", answer(&mut desk, &line?))?;
        output.flush()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("usage: vcd-peer-openmls (it reads its calls from standard input)");
        return ExitCode::from(2);
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vcd-peer-openmls: {error}");
            ExitCode::FAILURE
        }
    }
}
