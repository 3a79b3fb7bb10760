#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{HttpClient, Looking, PlainHttp, allowed_addresses, check_url};
use crate::oidc::OidcOptions;
use crate::oidc::error::{HttpClientProblem, HttpProblem};

fn options() -> OidcOptions {
    OidcOptions { timeout_seconds: 5, max_answer_bytes: 1024, ..OidcOptions::default() }
}

fn get(url: &str) -> openidconnect::HttpRequest {
    openidconnect::http::Request::get(url).body(Vec::new()).unwrap()
}

/// Answers every connection with these bytes, and leaves it open if told so.
async fn answering(bytes: Vec<u8>, keep_open: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(&bytes).await;
            if keep_open {
                open.push(socket);
            }
        }
    });
    address
}

async fn answer_to(bytes: Vec<u8>, keep_open: bool) -> Result<Vec<u8>, HttpProblem> {
    answer_within(&options(), bytes, keep_open).await
}

async fn answer_within(options: &OidcOptions, bytes: Vec<u8>, keep_open: bool) -> Result<Vec<u8>, HttpProblem> {
    let address = answering(bytes, keep_open).await;
    let client = HttpClient::new(options).unwrap();
    let request = get(&format!("http://{address}/"));
    let answer = client.send(request, PlainHttp::OnLoopback).await?;
    Ok(answer.into_body())
}

#[tokio::test]
async fn an_answer_up_to_the_limit_is_read() {
    let body = format!("\"{}\"", "a".repeat(1022));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n";
    let read = answer_to(format!("{head}{body}").into(), false).await;
    assert_eq!(read.unwrap(), body.as_bytes());
}

#[tokio::test]
async fn an_announced_oversized_answer_is_refused_before_it_is_read() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n";
    let read = answer_to(head.into(), true).await;
    assert!(matches!(read, Err(HttpProblem::TooLong { limit_bytes: 1024 })));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_while_it_comes_in() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", "a".repeat(1024)).repeat(3);
    let read = answer_to(format!("{head}{chunk}").into(), true).await;
    assert!(matches!(read, Err(HttpProblem::TooLong { limit_bytes: 1024 })));
}

#[tokio::test]
async fn a_stalled_answer_ends_after_the_time_allowed() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123";
    let hasty = OidcOptions { timeout_seconds: 1, ..options() };
    let read = answer_within(&hasty, head.into(), true).await;
    assert!(matches!(read, Err(HttpProblem::TimedOut { seconds: 1 })));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let head = "HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n";
    let address = answering(head.into(), false).await;
    let client = HttpClient::new(&options()).unwrap();
    let request = get(&format!("http://{address}/"));
    let answer = client.send(request, PlainHttp::OnLoopback).await.unwrap();
    assert_eq!(answer.status(), 302);
}

#[tokio::test]
async fn ambiguous_json_is_refused_whatever_it_answers() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"a\":1,\"a\":1}";
    let read = answer_to(head.into(), false).await;
    assert!(matches!(read, Err(HttpProblem::Json(_))));
}

#[test]
fn urls_that_are_never_called_are_refused() {
    use PlainHttp::{OnLoopback, Refused};
    let refused = |url: &str, plain| check_url(&url.parse().unwrap(), plain).unwrap_err();
    for (url, plain) in [
        ("http://idp.example/", OnLoopback),
        ("http://127.0.0.1/", Refused),
        ("http://localhost/", Refused),
        ("file:///etc/passwd", OnLoopback),
    ] {
        assert!(matches!(refused(url, plain), HttpProblem::PlainHttp), "{url}");
    }
    for url in [
        "https://169.254.169.254/",
        "https://0xa9fea9fe/",
        "https://2852039166/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fe80::1]/",
        "https://0/",
        "https://224.0.0.1/",
    ] {
        let problem = refused(url, Refused);
        assert!(matches!(problem, HttpProblem::RefusedAddress { .. }), "{url}");
    }
    let problem = refused("https://a:b@idp.example/", Refused);
    assert!(matches!(problem, HttpProblem::UnusableUrl));
    for url in ["https://127.0.0.1/", "https://10.0.0.1/", "https://idp.example/"] {
        assert!(check_url(&url.parse().unwrap(), Refused).is_ok(), "{url}");
    }
}

#[test]
fn a_name_leads_only_to_addresses_that_may_be_connected_to() {
    let found = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    let mixed = found(&["169.254.169.254:0", "10.0.0.1:0", "[fe80::1]:0"]);
    let kept = allowed_addresses("idp.example", mixed).unwrap();
    assert_eq!(kept, ["10.0.0.1:0".parse().unwrap()]);
    assert!(allowed_addresses("idp.example", found(&["169.254.169.254:0"])).is_err());
    assert!(allowed_addresses("localhost", found(&["10.0.0.1:0"])).is_err());
    assert!(allowed_addresses("localhost", found(&["[::1]:0"])).is_ok());
}

/// For each of two names loopback the first time, a metadata address ever after.
fn rebinding_lookup(name: String) -> Looking {
    static CALLS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let of_localhost = name == "localhost";
    drop(name);
    let calls = &CALLS[usize::from(of_localhost)];
    let address = match calls.fetch_add(1, Ordering::SeqCst) {
        0 => "127.0.0.1:0",
        _ => "169.254.169.254:0",
    };
    Box::pin(async move { Ok(vec![address.parse().unwrap()]) })
}

#[tokio::test]
async fn a_name_that_is_bound_anew_is_not_followed_to_a_metadata_address() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
    let address = answering(head.into(), false).await;
    let client = HttpClient::with_lookup(&options(), rebinding_lookup).unwrap();
    let url = format!("http://localhost:{}/", address.port());
    let first = client.send(get(&url), PlainHttp::OnLoopback).await;
    assert_eq!(first.unwrap().into_body(), b"{}");
    let second = client.send(get(&url), PlainHttp::OnLoopback).await;
    assert!(is_refused_by_the_resolver(&second.unwrap_err()));

    // Another name need not be loopback. That nobody speaks TLS there is found out by connecting.
    let url = format!("https://idp.example:{}/", address.port());
    let first = client.send(get(&url), PlainHttp::Refused).await;
    assert!(!is_refused_by_the_resolver(&first.unwrap_err()));
    let second = client.send(get(&url), PlainHttp::Refused).await;
    assert!(is_refused_by_the_resolver(&second.unwrap_err()));
}

/// Whether it was not even tried to connect.
fn is_refused_by_the_resolver(problem: &HttpProblem) -> bool {
    let mut causes = std::iter::successors(Some(problem as &dyn std::error::Error), |error| error.source());
    causes.any(|cause| cause.to_string().contains("no address that may be connected to"))
}

#[tokio::test]
async fn a_ca_file_is_read_at_the_start_and_again_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let with = |path: &std::path::Path| OidcOptions { ca_file: Some(path.to_owned()), ..options() };
    let missing = HttpClient::new(&with(&path)).err();
    assert!(matches!(missing, Some(HttpClientProblem::UnreadableCaFile { .. })));
    for text in [
        "",
        "no certificate\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAA",
    ] {
        std::fs::write(&path, text).unwrap();
        let bad = HttpClient::new(&with(&path)).err();
        assert!(matches!(bad, Some(HttpClientProblem::BadCaFile { .. })), "{text:?}");
    }
    std::fs::write(&path, CA_PEM).unwrap();
    let client = HttpClient::new(&with(&path)).unwrap();
    client.reload().await.unwrap();
    std::fs::write(&path, "gone bad").unwrap();
    let gone_bad = client.reload().await;
    assert!(matches!(gone_bad, Err(HttpClientProblem::BadCaFile { .. })));
}

/// A certificate for `localhost` that is its own authority, and its key: public, for these tests only.
const CA_PEM: &str = include_str!("testdata/localhost.pem");
const KEY_PEM: &str = include_str!("testdata/localhost-key.pem");

/// Answers one connection over TLS, on a thread of its own.
fn answering_over_tls() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let certificate = CertificateDer::from_pem_slice(CA_PEM.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY_PEM.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        // A client that does not trust the certificate hangs up here.
        if stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
            stream.write_all(answer).unwrap();
        }
    });
    address
}

#[tokio::test]
async fn https_is_spoken_with_whom_the_ca_file_vouches_for_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, CA_PEM).unwrap();
    let with_ca = OidcOptions { ca_file: Some(path), ..options() };
    let call = async |options: &OidcOptions, host: &str| {
        let url = format!("https://{host}:{}/", answering_over_tls().port());
        let client = HttpClient::new(options).unwrap();
        client.send(get(&url), PlainHttp::Refused).await
    };
    let trusted = call(&with_ca, "localhost").await;
    assert_eq!(trusted.unwrap().into_body(), b"{}");
    let stranger = call(&options(), "localhost").await;
    assert!(matches!(stranger, Err(HttpProblem::Transport(_))));
    let other_name = call(&with_ca, "127.0.0.1").await;
    assert!(matches!(other_name, Err(HttpProblem::Transport(_))));
}
