//! Sockets. Each function that opens or closes one, or hands out its streams, is
//! defined a second time here, around wasmtime's: sockets are descriptors of the
//! process, and their streams hold no more than others; and so is what may be denied, since
//! that is told.

use std::collections::HashMap;
use std::mem;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::ResolveAddressStream;
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, Host as _, IpAddressFamily, Network,
};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, OutputStream, Pollable, SocketResult, StreamError,
    StreamResult, TcpSocket, UdpSocket,
};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView};

use wasm_core::Capability;

use super::account::{HasAccount, STREAM_BYTES};
use super::descriptors::{DescriptorPlace, Descriptors};

type Caller<'a, S> = StoreContextMut<'a, S>;
type Socket = Resource<TcpSocket>;

/// The places of an instance's sockets, by their numbers in its table.
pub(crate) type SocketPlaces = HashMap<u32, DescriptorPlace>;

/// A store's data that has sockets, each with a place among the descriptors of its component.
pub(crate) trait HasSockets: WasiSocketsView + HasAccount + 'static {
    /// Whether its component may; a denial is told.
    fn may(&self, capability: Capability) -> bool;

    fn places(&mut self) -> (&Descriptors, &mut SocketPlaces);
}

fn socket_result<R>(
    sockets: &mut WasiSocketsCtxView<'_>,
    result: SocketResult<R>,
) -> wasmtime::Result<Result<R, ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => sockets.convert_error_code(error).map(Err),
    }
}

/// A name that is looked up has at most so many bytes; no more of one is told.
const MAX_NAME_BYTES: usize = 253;

pub(super) fn add_to_linker<S: HasSockets>(linker: &mut Linker<S>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut create = linker.instance("wasi:sockets/tcp-create-socket@0.2.12")?;
    create.func_wrap(
        "create-tcp-socket",
        |mut caller: Caller<'_, S>, (family,): (IpAddressFamily,)| {
            Ok((create_socket(caller.data_mut(), family)?,))
        },
    )?;
    // Nothing grants the next two, and the context refuses them as well.
    let mut create = linker.instance("wasi:sockets/udp-create-socket@0.2.12")?;
    create.func_wrap(
        "create-udp-socket",
        |caller: Caller<'_, S>, (_,): (IpAddressFamily,)| {
            caller.data().may(Capability::UdpSocket);
            Ok((Err::<Resource<UdpSocket>, _>(ErrorCode::AccessDenied),))
        },
    )?;
    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.func_wrap(
        "resolve-addresses",
        |caller: Caller<'_, S>, (_, name): (Resource<Network>, String)| {
            let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
            caller.data().may(Capability::LookUp(name.to_owned()));
            let refused = ErrorCode::PermanentResolverFailure;
            Ok((Err::<Resource<ResolveAddressStream>, _>(refused),))
        },
    )?;
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.resource(
        "tcp-socket",
        ResourceType::host::<TcpSocket>(),
        |mut caller, number| {
            let state: &mut S = caller.data_mut();
            HostTcpSocket::drop(&mut state.sockets(), Resource::new_own(number))?;
            state.places().1.remove(&number);
            Ok(())
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut caller: Caller<'_, S>, (socket,): (Socket,)| {
            Ok((finish_connect(caller.data_mut(), socket)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn create_socket<S: HasSockets>(
    state: &mut S,
    family: IpAddressFamily,
) -> wasmtime::Result<Result<Socket, ErrorCode>> {
    if !state.may(Capability::TcpSocket) {
        return Ok(Err(ErrorCode::AccessDenied));
    }
    let Some(place) = state.places().0.take() else {
        return Ok(Err(ErrorCode::NewSocketLimit));
    };
    let mut sockets = state.sockets();
    let created = sockets.create_tcp_socket(family);
    let created = socket_result(&mut sockets, created)?;
    if let Ok(socket) = &created {
        state.places().1.insert(socket.rep(), place);
        state.settle("a socket")?;
    }
    Ok(created)
}

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

fn finish_connect<S: HasSockets>(
    state: &mut S,
    socket: Socket,
) -> wasmtime::Result<Result<Streams, ErrorCode>> {
    let mut sockets = state.sockets();
    let finished = sockets.finish_connect(socket);
    let finished = socket_result(&mut sockets, finished)?;
    if let Ok((_, output)) = &finished {
        let output = sockets.table.get_mut(output)?;
        let inner = mem::replace(output, Box::new(Narrow(None)));
        *output = Box::new(Narrow(Some(inner)));
        state.settle("the streams of a socket")?;
    }
    Ok(finished)
}

/// A stream that takes no larger chunks than others; `None` is closed.
struct Narrow(Option<DynOutputStream>);

impl Narrow {
    fn inner(&mut self) -> StreamResult<&mut DynOutputStream> {
        self.0.as_mut().ok_or(StreamError::Closed)
    }
}

#[async_trait]
impl Pollable for Narrow {
    async fn ready(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.ready().await;
        }
    }
}

#[async_trait]
impl OutputStream for Narrow {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > STREAM_BYTES {
            return Err(StreamError::trap(
                "a stream is written to only as far as check-write permits",
            ));
        }
        self.inner()?.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner()?.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.inner()?.check_write()?.min(STREAM_BYTES))
    }

    async fn cancel(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.cancel().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Takes much, and counts how often it is waited for and given up.
    struct Wide {
        waited: Arc<AtomicUsize>,
        cancelled: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Pollable for Wide {
        async fn ready(&mut self) {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[async_trait]
    impl OutputStream for Wide {
        fn write(&mut self, _: Bytes) -> StreamResult<()> {
            Ok(())
        }

        fn flush(&mut self) -> StreamResult<()> {
            Ok(())
        }

        fn check_write(&mut self) -> StreamResult<usize> {
            Ok(1 << 20)
        }

        async fn cancel(&mut self) {
            self.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_socket_takes_no_more_at_a_time_than_other_streams() {
        let (waited, cancelled) = (Arc::default(), Arc::default());
        let wide = Wide {
            waited: Arc::clone(&waited),
            cancelled: Arc::clone(&cancelled),
        };
        let mut narrow = Narrow(Some(Box::new(wide)));
        assert_eq!(narrow.check_write().unwrap(), 16 << 10);
        narrow.write(vec![0; 16 << 10].into()).unwrap();
        let large = narrow.write(vec![0; (16 << 10) + 1].into());
        assert!(matches!(large, Err(StreamError::Trap(_))), "{large:?}");
        narrow.flush().unwrap();
        narrow.ready().await;
        assert_eq!(waited.load(Ordering::Relaxed), 1);
        narrow.cancel().await;
        assert_eq!(cancelled.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn one_that_is_closed_takes_nothing() {
        let mut closed = Narrow(None);
        closed.ready().await;
        for ended in [
            closed.check_write().map(drop),
            closed.write(Bytes::new()),
            closed.flush(),
        ] {
            assert!(matches!(ended, Err(StreamError::Closed)), "{ended:?}");
        }
    }
}
