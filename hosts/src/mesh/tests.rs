//! Workers as threads, and the strangers that a mesh must survive.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use fractal_logs::Limits;
use proptest::prelude::*;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn welcome(worker: u32, workers: u32) -> Welcome {
    Welcome {
        protocol: PROTOCOL,
        run_id: "run".into(),
        worker,
        workers,
        threads: 2,
        secret: Secret::from([7; 32]),
        build: "build-a".into(),
        spec_hash: "spec-a".into(),
        spec: String::new(),
        elapsed_us: 0,
        limits: Limits::default(),
        confine: None,
        bind: Ipv4Addr::LOCALHOST.into(),
        orphaned_ms: None,
        places: Vec::new(),
        heartbeat_ms: 1000,
        startup_ms: 1000,
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Worker 0 of two, listening at the address that `meanwhile` gets; returns its links and what it reported.
fn listen_while(
    patience: Duration,
    meanwhile: impl FnOnce(SocketAddr),
) -> (Result<Vec<Option<TcpStream>>, String>, Vec<String>) {
    let (listener, address) = listener();
    let reports = Mutex::new(Vec::new());
    let links = thread::scope(|scope| {
        let report = |message| reports.lock().unwrap().push(message);
        let zero = scope.spawn(move || {
            connect(&welcome(0, 2), Some(listener), &[Some(address), None], Instant::now() + patience, &report)
        });
        meanwhile(address);
        zero.join().unwrap()
    });
    (links, reports.into_inner().unwrap())
}

/// An honest worker 1 joins; the sockets lead to each other.
fn join_honestly(address: SocketAddr) -> TcpStream {
    let one = welcome(1, 2);
    let mut links = connect(&one, None, &[Some(address), None], Instant::now() + PATIENCE, &|_| {}).unwrap();
    assert!(links[1].is_none());
    links[0].take().unwrap()
}

/// A stranger comes first, an honest worker second; the mesh stands and the stranger was reported.
fn survives(stranger: impl FnOnce(SocketAddr) -> Option<TcpStream>, reported: &str) {
    let (mut honest, mut kept_open) = (None, None);
    let (links, reports) = listen_while(PATIENCE, |address| {
        kept_open = stranger(address);
        honest = Some(join_honestly(address));
    });
    let mut link = links.unwrap()[1].take().unwrap();
    link.write_all(b"hello").unwrap();
    let mut hello = [0; 5];
    honest.unwrap().read_exact(&mut hello).unwrap();
    assert_eq!(&hello, b"hello");
    assert!(reports.iter().any(|report| report.contains(reported)), "{reports:?}");
    drop(kept_open);
}

/// `introduce` as worker 1 with changes; the listener's reason.
fn refused(address: SocketAddr, change: fn(&mut Welcome)) -> String {
    let mut other = welcome(1, 2);
    change(&mut other);
    let stream = TcpStream::connect(address).unwrap();
    match introduce(&other, 0, stream, Instant::now() + PATIENCE) {
        Err(Refusal::Misfit(why)) => why,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn all_meet_all() {
    for workers in [2u32, 3, 5] {
        let (listeners, addresses): (Vec<_>, Vec<_>) = (0..workers).map(|_| listener()).unzip();
        let addresses: Vec<_> = addresses.into_iter().map(Some).collect();
        thread::scope(|scope| {
            for (me, listener) in listeners.into_iter().enumerate() {
                let addresses = &addresses;
                scope.spawn(move || {
                    let report = |message| panic!("{message}");
                    let welcome = welcome(me as u32, workers);
                    let deadline = Instant::now() + PATIENCE;
                    let links = connect(&welcome, Some(listener), addresses, deadline, &report).unwrap();
                    assert!(links[me].is_none() && links.iter().flatten().count() == workers as usize - 1);
                    for mut link in links.iter().flatten() {
                        link.write_all(&[me as u8]).unwrap();
                    }
                    for (peer, link) in links.iter().enumerate() {
                        let Some(mut link) = link.as_ref() else { continue };
                        let mut byte = [0];
                        link.read_exact(&mut byte).unwrap();
                        assert_eq!(usize::from(byte[0]), peer);
                        assert!(link.nodelay().unwrap() && sockopt::socket_keepalive(link).unwrap());
                        assert_eq!(sockopt::tcp_user_timeout(link).unwrap(), USER_TIMEOUT.as_millis() as u32);
                        assert!(link.read_timeout().unwrap().is_none() && link.write_timeout().unwrap().is_none());
                    }
                });
            }
        });
    }
}

#[test]
fn a_silent_stranger_delays_no_one() {
    // Had its own deadline ended it, it would be said to have stayed silent.
    survives(|address| Some(TcpStream::connect(address).unwrap()), "had not introduced themselves");
}

#[test]
fn a_stranger_that_speaks_http() {
    let http = |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        // Until it is shown the door.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        None
    };
    survives(http, "does not speak our protocol");
}

#[test]
fn a_stranger_that_hangs_up() {
    survives(
        |address| {
            drop(TcpStream::connect(address).unwrap());
            None
        },
        "hung up",
    );
}

#[test]
fn a_stranger_with_another_secret() {
    let guess = |address| {
        let mut other = welcome(1, 2);
        other.secret = Secret::from([8; 32]);
        let stream = TcpStream::connect(address).unwrap();
        let outcome = introduce(&other, 0, stream, Instant::now() + PATIENCE);
        assert!(matches!(outcome, Err(Refusal::Broken(_))), "{outcome:?}");
        None
    };
    survives(guess, "does not know this run's secret");
}

/// Every byte an honest worker sent to a listener that drew another challenge.
#[test]
fn a_replayed_greeting() {
    let (trap, trap_address) = listener();
    let recorded = thread::scope(|scope| {
        let honest = scope.spawn(move || {
            let stream = TcpStream::connect(trap_address).unwrap();
            introduce(&welcome(1, 2), 0, stream, Instant::now() + PATIENCE).unwrap_err()
        });
        let (mut stream, _) = accept(&trap, PATIENCE).unwrap().unwrap();
        stream.set_nonblocking(false).unwrap();
        let until = Instant::now() + PATIENCE;
        write_frame(&mut stream, &[1; 32], until).unwrap();
        let recorded = read_frame(&mut stream, until).unwrap();
        drop(stream);
        honest.join().unwrap();
        recorded
    });
    let replay = move |address| {
        let mut stream = TcpStream::connect(address).unwrap();
        let until = Instant::now() + PATIENCE;
        read_frame(&mut stream, until).unwrap();
        write_frame(&mut stream, &recorded, until).unwrap();
        assert!(read_frame(&mut stream, until).is_err());
        None
    };
    survives(replay, "does not know this run's secret");
}

/// A member that does not fit is told why, and the mesh waits on for the one that does.
#[test]
fn members_that_do_not_fit() {
    type Change = fn(&mut Welcome);
    let cases: [(Change, &str); 8] = [
        (|it| it.build = "build-b".into(), "worker 1 has build build-b, worker 0 has build build-a"),
        (|it| it.threads = 4, "worker 1 has threads 4, worker 0 has threads 2"),
        (|it| it.workers = 3, "worker 1 has workers 3, worker 0 has workers 2"),
        (|it| it.run_id = "old".into(), "worker 1 has run old, worker 0 has run run"),
        (|it| it.spec_hash = "spec-b".into(), "worker 1 has spec spec-b, worker 0 has spec spec-a"),
        (|it| it.worker = 0, "it says that it is worker 0"),
        (|it| it.worker = 2, "it says that it is worker 2"),
        (|it| it.worker = u32::MAX, "it says that it is worker 4294967295"),
    ];
    for (change, why) in cases {
        survives(
            |address| {
                let told = refused(address, change);
                assert!(told.contains(why), "{told}");
                None
            },
            why,
        );
    }
}

/// A connecting worker whose peer refuses it for good does not try until the deadline.
#[test]
fn a_misfit_gives_up_at_once() {
    let mut told = String::new();
    let (links, _) = listen_while(Duration::from_secs(2), |address| {
        let mut one = welcome(1, 2);
        one.threads = 8;
        let began = Instant::now();
        told = connect(&one, None, &[Some(address), None], began + Duration::from_secs(600), &|_| {}).unwrap_err();
    });
    assert!(told.starts_with("worker 0 at 127.0.0.1:"), "{told}");
    assert!(told.contains("refused: worker 1 has threads 8, worker 0 has threads 2"), "{told}");
    assert!(links.unwrap_err().contains("no connection with worker 1"));
}

#[test]
fn the_same_worker_twice() {
    let (listener, address) = listener();
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let reports = &reports;
        let zero = scope.spawn(move || {
            let report = |message| reports.lock().unwrap().push(message);
            let addresses = [Some(address), None, None];
            connect(&welcome(0, 3), Some(listener), &addresses, Instant::now() + PATIENCE, &report)
        });
        let as_worker =
            |index| introduce(&welcome(index, 3), 0, TcpStream::connect(address).unwrap(), Instant::now() + PATIENCE);
        let _first = as_worker(1).unwrap();
        // The listener takes note of the first within a look.
        thread::sleep(LOOK_UP * 10);
        match as_worker(1) {
            Err(Refusal::Misfit(why)) => assert!(why.contains("worker 1 is connected already"), "{why}"),
            outcome => panic!("{outcome:?}"),
        }
        let _second = as_worker(2).unwrap();
        assert_eq!(zero.join().unwrap().unwrap().iter().flatten().count(), 2);
    });
    assert!(reports.into_inner().unwrap()[0].contains("connected already"));
}

/// Whoever listens at a peer's address without the secret gets nowhere, whatever it sends back.
#[test]
fn a_listener_without_the_secret() {
    let (trap, address) = listener();
    let error = thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(Some((mut stream, _))) = accept(&trap, Duration::from_millis(700)) {
                stream.set_nonblocking(false).unwrap();
                let until = Instant::now() + PATIENCE;
                write_frame(&mut stream, &[1; 32], until).unwrap();
                // The worker's own proof, sent back to it.
                let echo = read_frame(&mut stream, until).unwrap();
                let _ = write_frame(&mut stream, &echo, until);
            }
        });
        let deadline = Instant::now() + Duration::from_millis(400);
        connect(&welcome(1, 2), None, &[Some(address), None], deadline, &|_| {}).unwrap_err()
    });
    assert!(error.contains("worker 0") && error.contains(&address.to_string()), "{error}");
}

#[test]
fn a_missing_worker_is_named_at_the_deadline() {
    let (links, reports) = listen_while(Duration::from_millis(200), |_| {});
    assert_eq!(links.unwrap_err(), "no connection with worker 1 before the start-up deadline");
    assert!(reports.is_empty());
    // Nobody listens at the address.
    let (closed, address) = listener();
    drop(closed);
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = connect(&welcome(1, 2), None, &[Some(address), None], deadline, &|_| {}).unwrap_err();
    assert!(error.contains("worker 0") && error.contains(&address.to_string()), "{error}");
}

/// A crowd of strangers is counted, not listed.
#[test]
fn a_crowd() {
    let mut reports = Vec::new();
    for round in 0..2 {
        let (links, heard) = listen_while(PATIENCE, |address| {
            for _ in 0..round * 20 {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(b"garbage garbage").unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
            join_honestly(address);
        });
        assert!(links.is_ok());
        reports = heard;
    }
    assert_eq!(reports.len() as u32, LOUD + 1, "{reports:?}");
    assert_eq!(reports.last().unwrap(), "refused 20 connections in all while the workers connected");
}

proptest! {
    #[test]
    fn a_sealed_frame_opens_only_unchanged(
        body in prop::collection::vec(any::<u8>(), 0..200),
        challenge in prop::collection::vec(any::<u8>(), 0..40),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let secret = Secret::from([3; 32]);
        let mut frame = body.clone();
        frame.extend(seal(&secret, CONNECTOR, &[&challenge, &body]));
        prop_assert_eq!(unseal(&secret, CONNECTOR, &[&challenge], &frame), Some(body.as_slice()));
        // Another role, another secret, another split of the same bytes.
        prop_assert_eq!(unseal(&secret, LISTENER, &[&challenge], &frame), None);
        prop_assert_eq!(unseal(&Secret::from([4; 32]), CONNECTOR, &[&challenge], &frame), None);
        prop_assert_eq!(unseal(&secret, CONNECTOR, &[&challenge, &[]], &frame), None);
        let at = at.index(frame.len());
        frame[at] ^= 1 << bit;
        prop_assert_eq!(unseal(&secret, CONNECTOR, &[&challenge], &frame), None);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let secret = Secret::from([3; 32]);
        prop_assert_eq!(unseal(&secret, CONNECTOR, &[], &bytes), None);
    }
}
