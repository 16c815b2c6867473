//! Addresses for what a test starts beside this Google, and has to name before it is there.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that Linux, macOS and Windows give to connections, and to who asks for any.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// An address on loopback that nobody has, and that nobody gets by asking for any port until it is
/// used: a port that the system chose and that was given back may belong to a connection a
/// millisecond later.
///
/// # Errors
/// When every one of 20,000 ports is taken.
pub fn unused_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Tests that run as processes of their own begin at different places.
    let of_process = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let nth = u32::from(NEXT.fetch_add(1, Ordering::Relaxed)).wrapping_add(of_process);
        let offset = nth % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
