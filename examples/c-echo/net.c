// A TCP connection through WASI 0.2, which wasi-libc (preview 1) has no functions
// for: the generated bindings are called directly.

#include "net.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "component.h"

// The cases of wasi:sockets/network.error-code, in order.
static const char *const error_names[] = {
    "unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout",
    "concurrency-conflict", "not-in-progress", "would-block", "invalid-state",
    "new-socket-limit", "address-not-bindable", "address-in-use", "remote-unreachable",
    "connection-refused", "connection-reset", "connection-aborted", "datagram-too-large",
    "name-unresolvable", "temporary-resolver-failure", "permanent-resolver-failure",
};

static const char *failure(const char *step, uint8_t code) {
  static char text[64];
  bool known = code < sizeof error_names / sizeof error_names[0];
  snprintf(text, sizeof text, "%s: %s", step, known ? error_names[code] : "?");
  return text;
}

static void wait_for(wasi_io_poll_own_pollable_t pollable) {
  wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(pollable));
  wasi_io_poll_pollable_drop_own(pollable);
}

// The first IPv4 address of a name.
static const char *look_up(wasi_sockets_network_own_network_t network, const char *host,
                           wasi_sockets_network_ipv4_address_t *address) {
  wasi_sockets_ip_name_lookup_own_resolve_address_stream_t stream;
  wasi_sockets_network_error_code_t code;
  component_string_t name;
  const char *failed = NULL;

  component_string_set(&name, host);
  if (!wasi_sockets_ip_name_lookup_resolve_addresses(wasi_sockets_network_borrow_network(network),
                                                     &name, &stream, &code)) {
    return failure("lookup", code);
  }
  wasi_sockets_ip_name_lookup_borrow_resolve_address_stream_t answers =
      wasi_sockets_ip_name_lookup_borrow_resolve_address_stream(stream);
  for (;;) {
    wasi_sockets_ip_name_lookup_option_ip_address_t next;
    if (!wasi_sockets_ip_name_lookup_method_resolve_address_stream_resolve_next_address(
            answers, &next, &code)) {
      if (code == WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK) {
        wait_for(wasi_sockets_ip_name_lookup_method_resolve_address_stream_subscribe(answers));
        continue;
      }
      failed = failure("lookup", code);
    } else if (!next.is_some) {
      failed = failure("lookup", WASI_SOCKETS_NETWORK_ERROR_CODE_NAME_UNRESOLVABLE);
    } else if (next.val.tag != WASI_SOCKETS_NETWORK_IP_ADDRESS_IPV4) {
      continue;
    } else {
      *address = next.val.val.ipv4;
    }
    break;
  }
  wasi_sockets_ip_name_lookup_resolve_address_stream_drop_own(stream);
  return failed;
}

static const char *connect_to(wasi_sockets_network_own_network_t network,
                              wasi_sockets_tcp_ip_socket_address_t *remote) {
  wasi_sockets_tcp_own_tcp_socket_t owned;
  wasi_sockets_tcp_tuple2_own_input_stream_own_output_stream_t streams;
  wasi_sockets_network_error_code_t code;
  const char *failed = NULL;

  if (!wasi_sockets_tcp_create_socket_create_tcp_socket(WASI_SOCKETS_NETWORK_IP_ADDRESS_FAMILY_IPV4,
                                                        &owned, &code)) {
    return failure("socket", code);
  }
  wasi_sockets_tcp_borrow_tcp_socket_t socket = wasi_sockets_tcp_borrow_tcp_socket(owned);
  if (!wasi_sockets_tcp_method_tcp_socket_start_connect(
          socket, wasi_sockets_network_borrow_network(network), remote, &code)) {
    failed = failure("connect", code);
  } else {
    while (!wasi_sockets_tcp_method_tcp_socket_finish_connect(socket, &streams, &code)) {
      if (code != WASI_SOCKETS_NETWORK_ERROR_CODE_WOULD_BLOCK) {
        failed = failure("connect", code);
        break;
      }
      wait_for(wasi_sockets_tcp_method_tcp_socket_subscribe(socket));
    }
    if (failed == NULL) {
      // The streams are the socket's children and go first.
      wasi_io_streams_input_stream_drop_own(streams.f0);
      wasi_io_streams_output_stream_drop_own(streams.f1);
    }
  }
  wasi_sockets_tcp_tcp_socket_drop_own(owned);
  return failed;
}

const char *try_connect(const char *host, unsigned port) {
  wasi_sockets_network_own_network_t network = wasi_sockets_instance_network_instance_network();
  wasi_sockets_tcp_ip_socket_address_t remote;
  uint8_t bytes[4];
  const char *failed = NULL;

  remote.tag = WASI_SOCKETS_NETWORK_IP_SOCKET_ADDRESS_IPV4;
  remote.val.ipv4.port = (uint16_t)port;
  if (inet_pton(AF_INET, host, bytes) == 1) {
    remote.val.ipv4.address.f0 = bytes[0];
    remote.val.ipv4.address.f1 = bytes[1];
    remote.val.ipv4.address.f2 = bytes[2];
    remote.val.ipv4.address.f3 = bytes[3];
  } else {
    failed = look_up(network, host, &remote.val.ipv4.address);
  }
  if (failed == NULL) failed = connect_to(network, &remote);
  wasi_sockets_network_network_drop_own(network);
  return failed;
}
