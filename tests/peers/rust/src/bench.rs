//! How long mls-rs takes for what our own bench times, so both can be read side by side.
//!
//! One JSON object a line: `impl`, `op`, `tree`, `n`, `ms` (the median). Suite 1, basic credentials,
//! PublicMessage handshakes, the ratchet tree inside Welcome and GroupInfo, decoding and encoding of messages
//! counted, and applying a commit counted with making it. `n` is the number of members: after the commit for
//! `add_n_commit` and `join_welcome`, before it for an external commit; what needs no group is listed once,
//! under the smallest. The tree is `flat` when one commit added everybody and `full` when no node above the
//! leaves is blank. Commits are made by the first leaf and processed by the second, which has the longest way
//! to derive. mls-rs spreads work over all cores; RAYON_NUM_THREADS=1 keeps it to one.

use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use mls_rs::{CipherSuite, ExtensionList, MlsMessage};

use crate::member::{Member, MlsClient, MlsGroup, Signer};

type Outcome<T> = Result<T, Box<dyn Error>>;

const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;
const SIZES: [usize; 4] = [2, 10, 100, 1000];
const PLAINTEXT: [u8; 256] = [0x5a; 256];

/// How often an operation is repeated: until enough time has gone by, but within bounds.
struct Patience {
    largest: usize,
    fewest: usize,
    most: usize,
    budget: Duration,
}

const QUICK: Patience = Patience { largest: 100, fewest: 3, most: 9, budget: Duration::from_millis(150) };
const THOROUGH: Patience = Patience { largest: 1000, fewest: 5, most: 51, budget: Duration::from_secs(3) };

impl Patience {
    /// The median time of `run` alone; `prepare` makes what it uses up, and dropping its result is not
    /// counted.
    fn median<S, T>(
        &self,
        mut prepare: impl FnMut() -> Outcome<S>,
        mut run: impl FnMut(S) -> Outcome<T>,
    ) -> Outcome<f64> {
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.len() < self.fewest || (times.len() < self.most && begun.elapsed() < self.budget) {
            let used_up = prepare()?;
            let start = Instant::now();
            let result = black_box(run(black_box(used_up))?);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            drop(result);
        }
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        Ok(if times.len() % 2 == 1 { times[middle] } else { f64::midpoint(times[middle - 1], times[middle]) })
    }
}

fn report(op: &str, tree: &str, n: usize, ms: f64) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, r#"{{"impl":"mls-rs","op":"{op}","tree":"{tree}","n":{n},"ms":{ms:.6}}}"#)?;
    out.flush()?;
    Ok(())
}

fn member(name: &str) -> Outcome<Member> {
    let signer = Signer::generate(SUITE, name.as_bytes())?;
    Ok(Member::new(name.as_bytes(), SUITE, &signer))
}

fn client(name: &str) -> Outcome<MlsClient> {
    Ok(member(name)?.client)
}

fn key_package(client: &MlsClient) -> Outcome<Vec<u8>> {
    let none = ExtensionList::new;
    Ok(client.generate_key_package_message(none(), none(), None)?.to_bytes()?)
}

fn create(client: &MlsClient) -> Outcome<MlsGroup> {
    Ok(client.create_group(ExtensionList::new(), ExtensionList::new(), None)?)
}

/// Commits and applies; gives the commit and, if anyone was added, the Welcome.
fn commit(group: &mut MlsGroup, newcomers: &[Vec<u8>]) -> Outcome<(Vec<u8>, Option<Vec<u8>>)> {
    let mut builder = group.commit_builder();
    for package in newcomers {
        builder = builder.add_member(MlsMessage::from_bytes(package)?)?;
    }
    let made = builder.build()?;
    let sent = made.commit_message().to_bytes()?;
    let welcome = made.welcome_messages().first().map(MlsMessage::to_bytes).transpose()?;
    group.apply_pending_commit()?;
    Ok((sent, welcome))
}

fn process(group: &mut MlsGroup, bytes: &[u8]) -> Outcome<()> {
    group.process_incoming_message(MlsMessage::from_bytes(bytes)?)?;
    Ok(())
}

fn join(client: &MlsClient, welcome: &[u8]) -> Outcome<MlsGroup> {
    Ok(client.join_group(None, &MlsMessage::from_bytes(welcome)?, None)?.0)
}

fn group_info(group: &MlsGroup) -> Outcome<Vec<u8>> {
    Ok(group.group_info_message_allowing_ext_commit(true)?.to_bytes()?)
}

fn external_join(client: &MlsClient, info: &[u8]) -> Outcome<(MlsGroup, Vec<u8>)> {
    let (group, commit) = client.commit_external(MlsMessage::from_bytes(info)?)?;
    Ok((group, commit.to_bytes()?))
}

/// One group as its first two leaves see it.
struct Pair {
    first: MlsGroup,
    second: MlsGroup,
}

impl Pair {
    fn of(first: &MlsGroup, second: &MlsGroup) -> Outcome<Self> {
        if (first.current_member_index(), second.current_member_index()) != (0, 1) {
            return Err("the bench expects the members of the first two leaves".into());
        }
        Ok(Self { first: first.clone(), second: second.clone() })
    }
}

fn time_group(patience: &Patience, tree: &str, n: usize, pair: &Pair) -> Outcome<()> {
    let ms = patience.median(
        || Ok(pair.first.clone()),
        |mut group| {
            let sent = commit(&mut group, &[])?;
            Ok((group, sent))
        },
    )?;
    report("commit_create", tree, n, ms)?;

    let (sent, _) = commit(&mut pair.first.clone(), &[])?;
    let ms = patience.median(
        || Ok(pair.second.clone()),
        |mut group| {
            process(&mut group, &sent)?;
            Ok(group)
        },
    )?;
    report("commit_process", tree, n, ms)?;

    let info = group_info(&pair.first)?;
    let ms = patience.median(|| client("newcomer"), |newcomer| external_join(&newcomer, &info))?;
    report("external_commit_create", tree, n, ms)?;

    let (_, sent) = external_join(&client("newcomer")?, &info)?;
    let ms = patience.median(
        || Ok(pair.second.clone()),
        |mut group| {
            process(&mut group, &sent)?;
            Ok(group)
        },
    )?;
    report("external_commit_process", tree, n, ms)?;

    let mut sender = pair.first.clone();
    let mut receiver = pair.second.clone();
    let ms = patience.median(
        || Ok(()),
        |()| Ok(sender.encrypt_application_message(&PLAINTEXT, Vec::new())?.to_bytes()?),
    )?;
    report("protect_256", tree, n, ms)?;

    let mut sender = pair.first.clone();
    let ms = patience.median(
        || Ok(sender.encrypt_application_message(&PLAINTEXT, Vec::new())?.to_bytes()?),
        |sealed| process(&mut receiver, &sealed),
    )?;
    report("unprotect_256", tree, n, ms)
}

fn time_flat(patience: &Patience, n: usize) -> Outcome<()> {
    let founder = create(&client("0")?)?;
    let newcomers: Vec<MlsClient> = (1..n).map(|leaf| client(&leaf.to_string())).collect::<Outcome<_>>()?;
    let packages: Vec<Vec<u8>> = newcomers.iter().map(key_package).collect::<Outcome<_>>()?;

    let ms = patience.median(
        || Ok(founder.clone()),
        |mut group| {
            let sent = commit(&mut group, &packages)?;
            Ok((group, sent))
        },
    )?;
    report("add_n_commit", "flat", n, ms)?;

    let mut first = founder;
    let welcome = commit(&mut first, &packages)?.1.ok_or("adding members makes a Welcome")?;
    let ms = patience.median(|| Ok(()), |()| join(&newcomers[n - 2], &welcome))?;
    report("join_welcome", "flat", n, ms)?;

    let second = join(&newcomers[0], &welcome)?;
    time_group(patience, "flat", n, &Pair::of(&first, &second)?)
}

/// Grows one group by external commits, each filling the nodes above its leaf, and stops at each size to
/// measure.
fn time_full(patience: &Patience, sizes: &[usize]) -> Outcome<()> {
    let founder = member("0")?;
    founder.rules.next_commit(true, false, None);
    let mut first = create(&founder.client)?;
    let mut second: Option<MlsGroup> = None;
    for members in 1..*sizes.last().ok_or("no sizes")? {
        if sizes.contains(&(members + 1)) {
            time_join_full(patience, members + 1, &first)?;
        }
        let (joined, sent) = external_join(&client(&members.to_string())?, &group_info(&first)?)?;
        process(&mut first, &sent)?;
        match &mut second {
            Some(group) => process(group, &sent)?,
            None => second = Some(joined),
        }
        if let (true, Some(second)) = (sizes.contains(&(members + 1)), &second) {
            time_group(patience, "full", members + 1, &Pair::of(&first, second)?)?;
        }
    }
    Ok(())
}

/// Joining as the last of `n` a tree that was full before and that the commit's path leaves full.
fn time_join_full(patience: &Patience, n: usize, group: &MlsGroup) -> Outcome<()> {
    let newcomer = client("newcomer")?;
    let (_, welcome) = commit(&mut group.clone(), &[key_package(&newcomer)?])?;
    let welcome = welcome.ok_or("adding a member makes a Welcome")?;
    let ms = patience.median(|| Ok(()), |()| join(&newcomer, &welcome))?;
    report("join_welcome", "full", n, ms)
}

pub fn run(quick: bool) -> Outcome<()> {
    let patience = if quick { &QUICK } else { &THOROUGH };
    let sizes: Vec<usize> = SIZES.into_iter().filter(|n| *n <= patience.largest).collect();

    let ms = patience.median(|| client("0"), |client| key_package(&client))?;
    report("key_package", "flat", sizes[0], ms)?;
    let ms = patience.median(|| client("0"), |client| create(&client))?;
    report("create_group", "flat", sizes[0], ms)?;
    for n in &sizes {
        time_flat(patience, *n)?;
    }
    time_full(patience, &sizes)
}
