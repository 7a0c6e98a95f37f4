// Components for airssys-wasm in C: the contract in terms of C strings and functions.
//
// A component writes AIRSSYS_COMPONENT and airssys_handle, and what else of the first part it
// wants; it calls what is in the second. What a call is handed, and what a function returns
// that is a pointer, lasts until the call ends. Texts are UTF-8 and end with a zero byte: a key
// or an id that is not UTF-8 is refused, and what is logged or said in an error has U+FFFD in
// the place of other bytes.
//
// Functions that return a bool return false when they fail, and airssys_error() is why. A
// component that returns false from its own function passes that on:
//
//   if (!airssys_set_number(name, count)) return false;
//
// What is not here is in component.h, the bindings of the contract.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- what a component writes --------------------------------------------------

// Once in a component: its name and version, as others see them.
#define AIRSSYS_COMPONENT(name, version) \
  const char *const airssys_component_name = name; \
  const char *const airssys_component_version = version

typedef struct {
  const char *from;         // who sent it, which the host vouches for: namespace/name/instance
  const char *payload;      // with a zero byte behind it, which `length` does not count
  size_t length;
  const char *content_type; // or NULL
} airssys_message;

// Handles a message, to which airssys_reply answers; without it, the reply is empty. With
// false, whoever sent the message is told airssys_error(), and the component goes on.
bool airssys_handle(const airssys_message *message);

// Starts an instance. The configuration is that of [config], or NULL. With false, it does not
// start. May be left out.
bool airssys_start(const char *config, size_t length);

typedef enum {
  AIRSSYS_HEALTHY,
  AIRSSYS_DEGRADED,
  AIRSSYS_UNHEALTHY,
  AIRSSYS_HEALTH_UNKNOWN,
} airssys_health_status;

// How the component does. May be left out, and is healthy then.
airssys_health_status airssys_health(void);

// The last call of an instance. May be left out.
bool airssys_stop(void);

// --- what it can do -----------------------------------------------------------

// The functions that take a format know %s, %.*s, %c, %d, %u, %x and %%, the numbers with l, ll
// or z, too.

// The reply to the message that is being handled; the last one counts. Returns true.
bool airssys_reply(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool airssys_reply_bytes(const void *bytes, size_t length);

// Sets what airssys_error() is. Returns false.
bool airssys_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Why the last function failed.
const char *airssys_error(void);

// The value of a variable of [env], or NULL.
const char *airssys_variable(const char *name);

typedef enum {
  AIRSSYS_TRACE,
  AIRSSYS_DEBUG,
  AIRSSYS_INFO,
  AIRSSYS_WARN,
  AIRSSYS_ERROR,
} airssys_level;

// Needs `log` in [permissions]; what is below that level is not logged.
void airssys_log(airssys_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// A text made of others.
const char *airssys_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A message that is not answered, to `namespace/name/instance`, or to several at once. Needs
// `send`, or `broadcast`, in [permissions].
bool airssys_send(const char *to, const void *payload, size_t length);
bool airssys_broadcast(const char *const *to, size_t count, const void *payload, size_t length);

typedef struct {
  bool failed;
  const char *from;    // who was asked
  const char *payload; // the reply, or, if it failed, why; with a zero byte behind it
  size_t length;
} airssys_answer;

typedef bool airssys_then(const airssys_answer *answer, void *context);

// A message that is answered: `then` is called once, in a later call, with the answer, with
// why there is none, or when the time is over. Needs `request` in [permissions].
bool airssys_request(const char *to, const void *payload, size_t length, uint64_t timeout_ms,
                     airssys_then *then, void *context);

// The storage of this component, which outlives its instances. Needs `storage` in
// [permissions]. What is absent is NULL, or 0; a number is stored as it is written.
bool airssys_get(const char *key, const char **value, size_t *length);
bool airssys_set(const char *key, const void *value, size_t length);
bool airssys_get_number(const char *key, int64_t *number);
bool airssys_set_number(const char *key, int64_t number);
bool airssys_delete(const char *key);
bool airssys_exists(const char *key, bool *exists);

// The keys that begin with a prefix, which may be "".
bool airssys_keys(const char *prefix, const char *const **keys, size_t *count);

// Milliseconds since the Unix epoch.
uint64_t airssys_now_ms(void);
void airssys_sleep_ms(uint64_t milliseconds);

// Who this component is: namespace/name/instance; and the components that it knows of.
const char *airssys_own_id(void);
void airssys_components(const char *const **ids, size_t *count);
