//! Authenticated sockets between the workers of a run.
//!
//! Worker *i* listens for every higher index and connects to every lower one. On each connection:
//!
//! ```text
//! listener → connector   Challenge: 32 random bytes
//! connector → listener   greeting, 32 random bytes of its own, HMAC(secret, "connector", challenge, greeting)
//! listener → connector   greeting, HMAC(secret, "listener", challenge, the connector's frame, greeting)
//!                    or   a refusal, authenticated the same way
//! ```
//!
//! so that each side proves the secret over bytes the other has just drawn, and a recorded conversation is worth
//! nothing. A greeting names protocol, build, run, spec, index, number of workers and threads per worker; the two must
//! agree. Every read has a deadline and every connection a thread of its own, so a silent stranger delays no one. A
//! stranger is refused and counted and start-up goes on.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::welcome::{PROTOCOL, Secret, Welcome};

/// First bytes of each frame: what is not ours shows at once.
const MAGIC: [u8; 4] = *b"FrMs";
/// No frame is longer.
const MAX_FRAME: usize = 4096;
/// Longest time for one greeting; the mesh's own deadline cuts it short.
const GREETING: Duration = Duration::from_secs(5);
/// Connections greeted at the same time; more are turned away and may come again.
const MAX_TALKS: usize = 256;
/// Refused connections that are reported one by one; of more, only the number.
const LOUD: u32 = 5;
/// Between two attempts to reach a peer.
const RETRY: Duration = Duration::from_millis(50);
/// How often the listener looks up from waiting to see whether all have come.
const LOOK_UP: Duration = Duration::from_millis(10);
/// Unacknowledged data for so long means that the peer's host is gone. Longer than the runner's patience with a frozen
/// worker, so that the runner finds the cause before the others feel it.
const USER_TIMEOUT: Duration = Duration::from_secs(60);

const CONNECTOR: &[u8] = b"fractal mesh connector";
const LISTENER: &[u8] = b"fractal mesh listener";

/// What both ends of a connection must agree on, and who speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Greeting {
    protocol: u32,
    build: String,
    run_id: String,
    spec_hash: String,
    workers: u32,
    threads: u32,
    /// Who speaks.
    worker: u32,
    /// To whom.
    to: u32,
}

/// An authenticated message of the listener.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Accepted(Greeting),
    Refused(String),
}

/// How a connection attempt ended without a peer.
#[derive(Debug)]
enum Refusal {
    /// It proved nothing: not a member of this run.
    Stranger(String),
    /// It knows the secret but does not fit: other build, threads, spec.
    Misfit(String),
    /// The conversation broke off; another attempt may do better.
    Broken(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Refusal::Broken("it stayed silent".into()),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Refusal::Broken("it hung up".into())
            }
            io::ErrorKind::InvalidData => Refusal::Stranger("it does not speak our protocol".into()),
            _ => Refusal::Broken(error.to_string()),
        }
    }
}

/// Connects worker `welcome.worker` to all others: element `j` is the connection to worker `j`, `None` at its own
/// index. `listener` serves the higher indices and is closed on return; `addresses` says where the lower ones listen.
/// `report` hears of the first strangers and then of their number. The error names the workers that are missing.
pub(crate) fn connect(
    welcome: &Welcome,
    listener: Option<TcpListener>,
    addresses: &[Option<SocketAddr>],
    deadline: Instant,
    report: &(dyn Fn(String) + Sync),
) -> Result<Vec<Option<TcpStream>>, String> {
    let refused = AtomicU32::new(0);
    let warn = |message: String| {
        if refused.fetch_add(1, Ordering::Relaxed) < LOUD {
            report(message);
        }
    };
    let me = welcome.worker as usize;
    let mut links: Vec<Option<TcpStream>> = (0..welcome.workers).map(|_| None).collect();
    let talks = Talks::default();
    let (found, finds) = mpsc::channel::<Result<(usize, TcpStream), String>>();
    let missing = |links: &[Option<TcpStream>]| -> Vec<usize> {
        (0..links.len()).filter(|&peer| peer != me && links[peer].is_none()).collect()
    };
    let outcome = thread::scope(|scope| {
        for (peer, address) in addresses.iter().copied().enumerate().take(me) {
            let (found, talks) = (found.clone(), &talks);
            scope.spawn(move || {
                let link = match address {
                    Some(address) => reach(welcome, peer as u32, address, deadline, talks),
                    None => Err(format!("{} has no address", welcome.name_of(peer as u32))),
                };
                let _ = found.send(link.map(|stream| (peer, stream)));
            });
        }
        let mut gather = || {
            loop {
                while let Ok(find) = finds.try_recv() {
                    let (peer, stream) = find?;
                    match &mut links[peer] {
                        link @ None => *link = Some(stream),
                        Some(_) => warn(format!("worker {peer} came twice; the second connection was closed")),
                    }
                }
                if missing(&links).is_empty() {
                    return Ok(());
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(describe_missing(welcome, &missing(&links), addresses));
                }
                let Some(listener) = &listener else {
                    thread::sleep(LOOK_UP.min(left));
                    continue;
                };
                let arrival = accept(listener, LOOK_UP.min(left))
                    .map_err(|error| format!("cannot listen for the other workers: {error}"))?;
                let Some((stream, from)) = arrival else { continue };
                // Past the limit it is turned away, and may come again.
                let Some(talk) = talks.begin(&stream) else { continue };
                let taken: Vec<bool> = links.iter().map(Option::is_some).collect();
                let (found, talks, warn) = (found.clone(), &talks, &warn);
                scope.spawn(move || {
                    let outcome = receive(welcome, stream, deadline, &taken);
                    if !talks.end(talk) {
                        return;
                    }
                    match outcome {
                        Ok(link) => drop(found.send(Ok(link))),
                        Err(Refusal::Stranger(why) | Refusal::Misfit(why) | Refusal::Broken(why)) => {
                            warn(format!("refused a connection from {from}: {why}"));
                        }
                    }
                });
            }
        };
        let outcome = gather();
        // Whoever is still talking is no one we wait for.
        let silent = talks.break_off();
        if outcome.is_ok() && silent > 0 {
            warn(format!("closed {silent} connections that had not introduced themselves"));
        }
        outcome
    });
    if refused.load(Ordering::Relaxed) > LOUD {
        report(format!("refused {} connections in all while the workers connected", refused.load(Ordering::Relaxed)));
    }
    outcome?;
    for link in links.iter().flatten() {
        prepare(link).map_err(|error| format!("cannot set up a connection: {error}"))?;
    }
    Ok(links)
}

/// The conversations under way, so that they can be broken off when the mesh is complete or has failed.
#[derive(Debug, Default)]
struct Talks {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    over: bool,
    next: u64,
    streams: BTreeMap<u64, TcpStream>,
}

impl Talks {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a conversation; `None` if all is over, or too much is going on.
    fn begin(&self, stream: &TcpStream) -> Option<u64> {
        let mut open = self.lock();
        if open.over || open.streams.len() >= MAX_TALKS {
            return None;
        }
        let id = open.next;
        open.streams.insert(id, stream.try_clone().ok()?);
        open.next += 1;
        Some(id)
    }

    /// Whether the conversation came to its own end.
    fn end(&self, id: u64) -> bool {
        self.lock().streams.remove(&id).is_some()
    }

    fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Ends all of them and lets no other begin; returns how many there were.
    fn break_off(&self) -> usize {
        let mut open = self.lock();
        open.over = true;
        let streams = std::mem::take(&mut open.streams);
        for stream in streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len()
    }
}

fn describe_missing(welcome: &Welcome, missing: &[usize], addresses: &[Option<SocketAddr>]) -> String {
    let names: Vec<String> = missing
        .iter()
        .map(|&peer| match addresses.get(peer) {
            Some(Some(address)) => format!("{} ({address})", welcome.name_of(peer as u32)),
            _ => welcome.name_of(peer as u32),
        })
        .collect();
    format!("no connection with {} before the start-up deadline", names.join(", "))
}

/// The next connection, or `None` after `patience`.
fn accept(listener: &TcpListener, patience: Duration) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    match listener.accept() {
        Ok(connection) => Ok(Some(connection)),
        // It left between the two calls, or the listener woke for nothing.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Connector's end: tries until it is accepted, is told why not, or the deadline has passed.
fn reach(
    welcome: &Welcome,
    peer: u32,
    address: SocketAddr,
    deadline: Instant,
    talks: &Talks,
) -> Result<TcpStream, String> {
    let who = welcome.name_of(peer);
    let mut last = "nothing answered".to_string();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Between machines it is mostly this.
            let hint =
                if address.ip().is_loopback() { "" } else { "; each host must reach any TCP port of the others" };
            return Err(format!("no connection with {who} at {address} before the start-up deadline: {last}{hint}"));
        }
        if talks.is_over() {
            return Err(format!("{who} at {address} was not reached: {last}"));
        }
        let attempt =
            TcpStream::connect_timeout(&address, left.min(GREETING)).map_err(Refusal::from).and_then(|stream| {
                let talk = talks.begin(&stream);
                let outcome = introduce(welcome, peer, stream, deadline);
                talk.map(|talk| talks.end(talk));
                outcome
            });
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(Refusal::Misfit(why)) => return Err(format!("{who} at {address} refused: {why}")),
            // Whoever sits at the address is not our peer, or is not ready; the deadline decides.
            Err(Refusal::Stranger(why) | Refusal::Broken(why)) => last = why,
        }
        thread::sleep(RETRY.min(left));
    }
}

fn introduce(welcome: &Welcome, peer: u32, mut stream: TcpStream, deadline: Instant) -> Result<TcpStream, Refusal> {
    let until = deadline.min(Instant::now() + GREETING);
    stream.set_nodelay(true)?;
    let challenge = read_frame(&mut stream, until)?;
    let mine = greeting(welcome, peer);
    let mut frame = nonce()?.to_vec();
    frame.extend(serde_json::to_vec(&mine).map_err(io::Error::other)?);
    let proof = seal(&welcome.secret, CONNECTOR, &[&challenge, &frame]);
    let signed = [frame.as_slice(), &proof].concat();
    write_frame(&mut stream, &signed, until)?;

    let answer = read_frame(&mut stream, until)?;
    let body = unseal(&welcome.secret, LISTENER, &[&challenge, &signed], &answer)
        .ok_or_else(|| Refusal::Stranger("it does not know this run's secret".into()))?;
    match serde_json::from_slice(body) {
        Ok(Answer::Accepted(theirs)) => match disagreement(welcome, &theirs, Some(peer)) {
            None => Ok(stream),
            Some(why) => Err(Refusal::Misfit(why)),
        },
        Ok(Answer::Refused(why)) => Err(Refusal::Misfit(why)),
        Err(_) => Err(Refusal::Misfit("its answer is malformed".into())),
    }
}

/// Listener's end.
fn receive(
    welcome: &Welcome,
    mut stream: TcpStream,
    deadline: Instant,
    taken: &[bool],
) -> Result<(usize, TcpStream), Refusal> {
    let until = deadline.min(Instant::now() + GREETING);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let challenge = nonce()?;
    write_frame(&mut stream, &challenge, until)?;
    let signed = read_frame(&mut stream, until)?;
    let frame = unseal(&welcome.secret, CONNECTOR, &[&challenge], &signed)
        .ok_or_else(|| Refusal::Stranger("it does not know this run's secret".into()))?;
    let mut answer = |answer: &Answer| {
        let mut body = serde_json::to_vec(answer).map_err(io::Error::other)?;
        let proof = seal(&welcome.secret, LISTENER, &[&challenge, &signed, &body]);
        body.extend(proof);
        write_frame(&mut stream, &body, until)
    };
    let judged = match frame.split_at_checked(32).and_then(|(_, json)| serde_json::from_slice::<Greeting>(json).ok()) {
        None => Err("its greeting is malformed".to_string()),
        Some(theirs) => match disagreement(welcome, &theirs, None) {
            Some(why) => Err(why),
            None if taken[theirs.worker as usize] => Err(format!("worker {} is connected already", theirs.worker)),
            None => Ok(theirs.worker),
        },
    };
    match judged {
        Ok(peer) => {
            answer(&Answer::Accepted(greeting(welcome, peer)))?;
            Ok((peer as usize, stream))
        }
        Err(why) => {
            answer(&Answer::Refused(why.clone()))?;
            Err(Refusal::Misfit(why))
        }
    }
}

fn greeting(welcome: &Welcome, to: u32) -> Greeting {
    Greeting {
        protocol: PROTOCOL,
        build: welcome.build.clone(),
        run_id: welcome.run_id.clone(),
        spec_hash: welcome.spec_hash.clone(),
        workers: welcome.workers,
        threads: welcome.threads,
        worker: welcome.worker,
        to,
    }
}

/// Why `theirs` cannot work with us, if it cannot. A connector expects one certain peer, a listener any higher index.
fn disagreement(welcome: &Welcome, theirs: &Greeting, expected: Option<u32>) -> Option<String> {
    let me = welcome.worker;
    let ours = greeting(welcome, theirs.worker);
    let facts = |of: &Greeting| {
        [
            ("protocol", of.protocol.to_string()),
            ("build", of.build.clone()),
            ("run", of.run_id.clone()),
            ("spec", of.spec_hash.clone()),
            ("workers", of.workers.to_string()),
            ("threads", of.threads.to_string()),
        ]
    };
    for ((what, theirs_is), (_, ours_is)) in facts(theirs).into_iter().zip(facts(&ours)) {
        if theirs_is != ours_is {
            return Some(format!("worker {} has {what} {theirs_is}, worker {me} has {what} {ours_is}", theirs.worker));
        }
    }
    let fits = match expected {
        Some(peer) => theirs.worker == peer,
        None => theirs.worker > me && theirs.worker < welcome.workers,
    };
    if theirs.to != me {
        Some(format!("it looks for worker {}, this is worker {me}", theirs.to))
    } else if !fits {
        Some(format!("it says that it is worker {}, which has no business with worker {me} here", theirs.worker))
    } else {
        None
    }
}

fn nonce() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

fn mac(secret: &Secret, role: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes keys of any length");
    for part in std::iter::once(&role).chain(parts) {
        // Lengths first, so that no two sequences of parts look alike.
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

fn seal(secret: &Secret, role: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    mac(secret, role, parts).finalize().into_bytes().into()
}

/// The body of a frame that ends in a valid proof over `parts` and itself.
fn unseal<'a>(secret: &Secret, role: &[u8], parts: &[&[u8]], frame: &'a [u8]) -> Option<&'a [u8]> {
    let (body, proof) = frame.split_at_checked(frame.len().checked_sub(32)?)?;
    let parts: Vec<&[u8]> = parts.iter().copied().chain([body]).collect();
    mac(secret, role, &parts).verify_slice(proof).ok()?;
    Some(body)
}

fn write_frame(stream: &mut TcpStream, body: &[u8], until: Instant) -> io::Result<()> {
    stream.set_write_timeout(Some(remaining(until)?))?;
    let mut frame = MAGIC.to_vec();
    frame.extend((body.len() as u16).to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame)
}

/// Reads exactly one frame and not a byte more: what follows belongs to whoever gets the socket.
fn read_frame(stream: &mut TcpStream, until: Instant) -> io::Result<Vec<u8>> {
    let mut head = [0; 6];
    read_exactly(stream, &mut head, until)?;
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if head[..4] != MAGIC || length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    read_exactly(stream, &mut body, until)?;
    Ok(body)
}

/// A deadline over all reads together: one byte at a time does not buy a stranger more of it.
fn read_exactly(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        stream.set_read_timeout(Some(remaining(until)?))?;
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn remaining(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Leaves a socket as its next owner wants it: no greeting deadlines, small messages sent at once, and a peer whose
/// host vanished noticed by the kernel.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    sockopt::set_tcp_user_timeout(stream, USER_TIMEOUT.as_millis() as u32)?;
    Ok(())
}

#[cfg(test)]
mod tests;
