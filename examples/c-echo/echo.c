// An echo component in C for the world `airssys:core/runtime-host`.
//
// It answers every message with the message itself, unless the payload is one
// of the commands below. The commands reach for things outside the component -
// WASI through wasi-libc, the host's own interfaces through the generated
// bindings - and answer with what came of it, so that a test can see from the
// outside what the component was and was not allowed to do.
//
//   open PATH          fopen for reading: `opened`, or errno and its text
//   read PATH          the file's first 4 KiB
//   write PATH TEXT    replaces the file's content: `written`
//   getenv NAME        the WASI environment: the value, or `unset`
//   config NAME        the environment handed to `initialize`, likewise
//   print TEXT         TEXT and a newline to standard output: `printed`
//   eprint TEXT        the same to standard error
//   connect HOST PORT  a TCP connection, closed again: `connected`, or the step
//                      that failed and WASI's error
//   time               WASI wall clock: SECONDS.NANOSECONDS since 1970
//   random             eight random bytes in hex
//   whoami             host-messaging.self-id: namespace/name/instance
//   log TEXT           host-services.log at level info: `logged`
//   put KEY TEXT       storage.set: `stored`, or the storage error
//   get KEY            storage.get: the value, `none`, or the storage error
//   fail TEXT          no reply: err(runtime-error(TEXT))
//   abort              a trap
//
// Built by `airssys-wasm build`; component.h are its bindings.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "component.h"
#include "net.h"

typedef exports_airssys_core_component_lifecycle_component_config_t config_t;
typedef exports_airssys_core_component_lifecycle_component_message_t message_t;
typedef exports_airssys_core_component_lifecycle_option_message_payload_t reply_t;
typedef exports_airssys_core_component_lifecycle_component_error_t component_error_t;
typedef exports_airssys_core_component_lifecycle_wasm_error_t wasm_error_t;

// Anything longer is echoed without a look.
enum { LONGEST_COMMAND = 4096 };

// What `initialize` was given; null until then.
static config_t *config = NULL;

// The payload of a reply is freed by the generated `post-return` function, so it
// has to come from malloc. An empty list may be null.
static void answer_bytes(reply_t *reply, const void *bytes, size_t len) {
  reply->is_some = true;
  reply->val.len = len;
  reply->val.ptr = NULL;
  if (len > 0) {
    reply->val.ptr = malloc(len);
    if (reply->val.ptr == NULL) abort();
    memcpy(reply->val.ptr, bytes, len);
  }
}

static void answer(reply_t *reply, const char *text) {
  answer_bytes(reply, text, strlen(text));
}

static void answer_errno(reply_t *reply, int error) {
  char text[128];
  int len = snprintf(text, sizeof text, "%d %s", error, strerror(error));
  answer_bytes(reply, text, (size_t)len);
}

static void answer_storage_error(reply_t *reply, airssys_core_storage_storage_error_t *error) {
  static const char *const names[] = {"not-found", "already-exists", "quota-exceeded",
                                      "invalid-key", "io-error"};
  const char *name = error->tag < 5 ? names[error->tag] : "?";
  if (error->tag == AIRSSYS_CORE_ERRORS_STORAGE_ERROR_QUOTA_EXCEEDED) {
    answer(reply, name);
  } else {
    // Every other case carries one string at the same place.
    component_string_t *why = &error->val.not_found;
    char text[256];
    int len = snprintf(text, sizeof text, "%s %.*s", name, (int)why->len, (const char *)why->ptr);
    answer_bytes(reply, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
  }
  airssys_core_storage_storage_error_free(error);
}

static void do_open(reply_t *reply, const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL) {
    answer_errno(reply, errno);
    return;
  }
  fclose(file);
  answer(reply, "opened");
}

static void do_read(reply_t *reply, const char *path) {
  char content[4096];
  FILE *file = fopen(path, "r");
  if (file == NULL) {
    answer_errno(reply, errno);
    return;
  }
  size_t len = fread(content, 1, sizeof content, file);
  if (ferror(file)) {
    answer_errno(reply, errno);
  } else {
    answer_bytes(reply, content, len);
  }
  fclose(file);
}

static void do_write(reply_t *reply, const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  if (file == NULL) {
    answer_errno(reply, errno);
    return;
  }
  int failed = fputs(text, file) == EOF ? errno : 0;
  if (fclose(file) != 0 && failed == 0) failed = errno;
  if (failed != 0) {
    answer_errno(reply, failed);
  } else {
    answer(reply, "written");
  }
}

static void do_print(reply_t *reply, FILE *stream, const char *text) {
  if (fprintf(stream, "%s\n", text) < 0 || fflush(stream) != 0) {
    answer_errno(reply, errno);
  } else {
    answer(reply, "printed");
  }
}

static void do_connect(reply_t *reply, const char *host, const char *port) {
  const char *failed = try_connect(host, (unsigned)atoi(port));
  answer(reply, failed == NULL ? "connected" : failed);
}

static void do_time(reply_t *reply) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
    answer_errno(reply, errno);
    return;
  }
  char text[48];
  int len = snprintf(text, sizeof text, "%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
  answer_bytes(reply, text, (size_t)len);
}

static void do_random(reply_t *reply) {
  unsigned char bytes[8];
  char text[17];
  if (getentropy(bytes, sizeof bytes) != 0) {
    answer_errno(reply, errno);
    return;
  }
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  answer(reply, text);
}

static void do_config(reply_t *reply, const char *name) {
  size_t count = config == NULL ? 0 : config->env_vars.len;
  for (size_t i = 0; i < count; i++) {
    component_tuple2_string_string_t *var = &config->env_vars.ptr[i];
    if (var->f0.len == strlen(name) && memcmp(var->f0.ptr, name, var->f0.len) == 0) {
      answer_bytes(reply, var->f1.ptr, var->f1.len);
      return;
    }
  }
  answer(reply, "unset");
}

static void do_whoami(reply_t *reply) {
  airssys_core_host_messaging_component_id_t id;
  airssys_core_host_messaging_self_id(&id);
  char text[256];
  int len = snprintf(text, sizeof text, "%.*s/%.*s/%.*s", (int)id.namespace_.len,
                     (const char *)id.namespace_.ptr, (int)id.name.len, (const char *)id.name.ptr,
                     (int)id.instance.len, (const char *)id.instance.ptr);
  answer_bytes(reply, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
  airssys_core_types_component_id_free(&id);
}

static void do_log(reply_t *reply, const char *text) {
  component_string_t line;
  component_string_set(&line, text);
  airssys_core_host_services_log(AIRSSYS_CORE_TYPES_LOG_LEVEL_INFO, &line, NULL);
  answer(reply, "logged");
}

static void do_put(reply_t *reply, const char *key, const char *text) {
  component_string_t k;
  airssys_core_storage_storage_value_t value = {(uint8_t *)text, strlen(text)};
  airssys_core_storage_storage_error_t error;
  component_string_set(&k, key);
  if (airssys_core_storage_set(&k, &value, &error)) {
    answer(reply, "stored");
  } else {
    answer_storage_error(reply, &error);
  }
}

static void do_get(reply_t *reply, const char *key) {
  component_string_t k;
  airssys_core_storage_option_storage_value_t value;
  airssys_core_storage_storage_error_t error;
  component_string_set(&k, key);
  if (!airssys_core_storage_get(&k, &value, &error)) {
    answer_storage_error(reply, &error);
    return;
  }
  if (value.is_some) {
    answer_bytes(reply, value.val.ptr, value.val.len);
  } else {
    answer(reply, "none");
  }
  airssys_core_storage_option_storage_value_free(&value);
}

// Cuts the next word off `*rest`.
static const char *word(char **rest) {
  char *start = *rest;
  char *space = strchr(start, ' ');
  if (space == NULL) {
    *rest = start + strlen(start);
  } else {
    *space = '\0';
    *rest = space + 1;
  }
  return start;
}

// False: not a command. `line` is changed in either case.
static bool command(reply_t *reply, char *line) {
  char *rest = line;
  const char *name = word(&rest);
  bool args = *rest != '\0';

  if (args && strcmp(name, "open") == 0) {
    do_open(reply, rest);
  } else if (args && strcmp(name, "read") == 0) {
    do_read(reply, rest);
  } else if (args && strcmp(name, "write") == 0) {
    const char *path = word(&rest);
    do_write(reply, path, rest);
  } else if (args && strcmp(name, "getenv") == 0) {
    const char *value = getenv(rest);
    answer(reply, value == NULL ? "unset" : value);
  } else if (args && strcmp(name, "config") == 0) {
    do_config(reply, rest);
  } else if (args && strcmp(name, "print") == 0) {
    do_print(reply, stdout, rest);
  } else if (args && strcmp(name, "eprint") == 0) {
    do_print(reply, stderr, rest);
  } else if (args && strcmp(name, "connect") == 0) {
    const char *host = word(&rest);
    do_connect(reply, host, rest);
  } else if (args && strcmp(name, "log") == 0) {
    do_log(reply, rest);
  } else if (args && strcmp(name, "put") == 0) {
    const char *key = word(&rest);
    do_put(reply, key, rest);
  } else if (args && strcmp(name, "get") == 0) {
    do_get(reply, rest);
  } else if (!args && strcmp(name, "time") == 0) {
    do_time(reply);
  } else if (!args && strcmp(name, "random") == 0) {
    do_random(reply);
  } else if (!args && strcmp(name, "whoami") == 0) {
    do_whoami(reply);
  } else if (!args && strcmp(name, "abort") == 0) {
    abort();
  } else {
    return false;
  }
  return true;
}

bool exports_airssys_core_component_lifecycle_initialize(config_t *given, component_error_t *error) {
  if (config != NULL) {
    exports_airssys_core_component_lifecycle_component_config_free(given);
    error->tag = AIRSSYS_CORE_ERRORS_COMPONENT_ERROR_ALREADY_INITIALIZED;
    return false;
  }
  // Arguments belong to the callee: what is not freed is kept.
  config = malloc(sizeof *config);
  if (config == NULL) abort();
  *config = *given;
  return true;
}

bool exports_airssys_core_component_lifecycle_handle_message(message_t *message, reply_t *reply,
                                                             wasm_error_t *error) {
  bool ok = true;
  bool answered = false;
  airssys_core_types_message_payload_t *payload = &message->payload;
  char line[LONGEST_COMMAND + 1];

  if (config == NULL) {
    error->tag = AIRSSYS_CORE_ERRORS_WASM_ERROR_RUNTIME_ERROR;
    component_string_dup(&error->val.runtime_error, "not initialized");
    ok = false;
  } else if (payload->len > 0 && payload->len <= LONGEST_COMMAND) {
    memcpy(line, payload->ptr, payload->len);
    line[payload->len] = '\0';
    if (strncmp(line, "fail ", 5) == 0) {
      error->tag = AIRSSYS_CORE_ERRORS_WASM_ERROR_RUNTIME_ERROR;
      component_string_dup(&error->val.runtime_error, line + 5);
      ok = false;
    } else {
      answered = command(reply, line);
    }
  }
  if (ok && !answered) {
    // The message's own bytes, handed on instead of freed.
    reply->is_some = true;
    reply->val = *payload;
    payload->len = 0;
  }
  exports_airssys_core_component_lifecycle_component_message_free(message);
  return ok;
}

bool exports_airssys_core_component_lifecycle_handle_callback(message_t *message,
                                                              wasm_error_t *error) {
  (void)error;
  exports_airssys_core_component_lifecycle_component_message_free(message);
  return true;
}

void exports_airssys_core_component_lifecycle_metadata(
    exports_airssys_core_component_lifecycle_component_metadata_t *metadata) {
  component_string_dup(&metadata->name, "c-echo");
  component_string_dup(&metadata->version, "1.0.0");
  component_string_dup(&metadata->description, "Echo in C that also tries what it may not do");
  component_string_dup(&metadata->author, "airssys-wasm");
  component_string_dup(&metadata->license, "MIT OR Apache-2.0");
  metadata->supported_operations.len = 1;
  metadata->supported_operations.ptr = malloc(sizeof(component_string_t));
  if (metadata->supported_operations.ptr == NULL) abort();
  component_string_dup(&metadata->supported_operations.ptr[0], "echo");
  metadata->stateful = false;
}

exports_airssys_core_component_lifecycle_health_status_t
exports_airssys_core_component_lifecycle_health(void) {
  return config == NULL ? AIRSSYS_CORE_TYPES_HEALTH_STATUS_UNKNOWN
                        : AIRSSYS_CORE_TYPES_HEALTH_STATUS_HEALTHY;
}

bool exports_airssys_core_component_lifecycle_shutdown(component_error_t *error) {
  if (config == NULL) {
    error->tag = AIRSSYS_CORE_ERRORS_COMPONENT_ERROR_NOT_INITIALIZED;
    return false;
  }
  exports_airssys_core_component_lifecycle_component_config_free(config);
  free(config);
  config = NULL;
  return true;
}
