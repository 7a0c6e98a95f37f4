#include "cafe.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "component.h"

typedef airssys_core_types_component_id_t component_id_t;
typedef airssys_core_types_component_message_t message_t;
typedef airssys_core_errors_messaging_error_t messaging_error_t;
typedef airssys_core_storage_storage_error_t storage_error_t;

#define MESSAGING_ERROR "application/vnd.airssys.messaging-error"

// --- memory -------------------------------------------------------------------

// What the host hands over and what it is answered lasts for one call, and whoever
// is done with it frees it; what a component keeps is in static variables. So memory
// is given out in order, and starts over when nothing is in use.

extern unsigned char __heap_base;
static uintptr_t top;
static size_t in_use;

// Never null: that the host refuses more memory ends this instance.
void *malloc(size_t size) {
  if (in_use == 0) top = (uintptr_t)&__heap_base;
  uintptr_t start = (top + 15) & ~(uintptr_t)15;
  uintptr_t end;
  if (__builtin_add_overflow(start, size, &end)) __builtin_trap();
  size_t have = __builtin_wasm_memory_size(0) * 65536;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 65535) / 65536) == SIZE_MAX)
    __builtin_trap();
  top = end;
  in_use++;
  return (void *)start;
}

void free(void *block) {
  if (block != NULL) in_use--;
}

// Copies what may be more than `block` had, but never more than was given out.
void *realloc(void *block, size_t size) {
  size_t most = block == NULL ? 0 : top - (uintptr_t)block;
  void *moved = malloc(size);
  if (most > 0) memcpy(moved, block, size < most ? size : most);
  free(block);
  return moved;
}

// --- texts --------------------------------------------------------------------

static component_string_t string(const char *text) {
  return (component_string_t){(uint8_t *)text, strlen(text)};
}

static void read_text(char *out, const uint8_t *bytes, size_t len) {
  if (len > TEXT - 1) len = TEXT - 1;
  for (size_t i = 0; i < len; i++) {
    bool printable = bytes[i] >= ' ' && bytes[i] <= '~';
    out[i] = printable ? (char)bytes[i] : '?';
  }
  out[len] = '\0';
}

static void read_id(char *out, const component_id_t *id) {
  char segments[3][TEXT];
  read_text(segments[0], id->namespace_.ptr, id->namespace_.len);
  read_text(segments[1], id->name.ptr, id->name.len);
  read_text(segments[2], id->instance.ptr, id->instance.len);
  format(out, "%s/%s/%s", segments[0], segments[1], segments[2]);
}

// Points into `text`.
static component_id_t id_of(const char *text) {
  component_string_t segments[3] = {0};
  for (int i = 0; i < 3; i++) {
    size_t len = strcspn(text, i < 2 ? "/" : "");
    segments[i] = (component_string_t){(uint8_t *)text, len};
    text += len + (text[len] == '/');
  }
  return (component_id_t){segments[0], segments[1], segments[2]};
}

void format(char *out, const char *format, ...) {
  char *end = out + TEXT - 1;
  va_list arguments;
  va_start(arguments, format);
  for (; *format != '\0' && out < end; format++) {
    char digits[11];
    const char *from = digits + 10;
    if (*format != '%') {
      *out++ = *format;
      continue;
    }
    if (*++format == 's') {
      from = va_arg(arguments, const char *);
    } else {
      unsigned number = va_arg(arguments, unsigned);
      char *digit = digits + 10;
      *digit = '\0';
      do *--digit = (char)('0' + number % 10);
      while (number /= 10);
      from = digit;
    }
    while (*from != '\0' && out < end) *out++ = *from++;
  }
  *out = '\0';
  va_end(arguments);
}

const char *after(const char *text, const char *word) {
  size_t len = strlen(word);
  return strncmp(text, word, len) == 0 ? text + len : NULL;
}

// --- host functions -----------------------------------------------------------

void note(const char *line) {
  component_string_t message = string(line);
  airssys_core_host_services_log(AIRSSYS_CORE_TYPES_LOG_LEVEL_INFO, &message, NULL);
}

// The case and its text, as callbacks have them. Frees the error.
static bool refused(messaging_error_t *error, char *why) {
  static const char *const cases[] = {"delivery-failed", "correlation-timeout", "invalid-message",
                                      "queue-full", "target-not-found"};
  char text[TEXT] = "";
  if (error->tag == AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_TARGET_NOT_FOUND) {
    read_id(text, &error->val.target_not_found);
  } else if (error->tag != AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_QUEUE_FULL) {
    // The other cases carry one string each, at the same place.
    read_text(text, error->val.delivery_failed.ptr, error->val.delivery_failed.len);
  }
  format(why, text[0] == '\0' ? "%s%s" : "%s: %s", cases[error->tag], text);
  airssys_core_errors_messaging_error_free(error);
  return false;
}

bool send(const char *target, const char *text, char *why) {
  component_id_t id = id_of(target);
  airssys_core_types_message_payload_t payload = {(uint8_t *)text, strlen(text)};
  messaging_error_t error;
  return airssys_core_host_messaging_send(&id, &payload, &error) || refused(&error, why);
}

bool broadcast(const char *const *targets, size_t count, const char *text, char *why) {
  component_id_t ids[16];
  if (count > 16) __builtin_trap();
  for (size_t i = 0; i < count; i++) ids[i] = id_of(targets[i]);
  airssys_core_host_messaging_list_component_id_t list = {ids, count};
  airssys_core_types_message_payload_t payload = {(uint8_t *)text, strlen(text)};
  messaging_error_t error;
  return airssys_core_host_messaging_broadcast(&list, &payload, &error) || refused(&error, why);
}

bool request(const char *target, const char *text, unsigned timeout_ms, char *id, char *why) {
  component_id_t to = id_of(target);
  airssys_core_types_message_payload_t payload = {(uint8_t *)text, strlen(text)};
  component_string_t correlation_id;
  messaging_error_t error;
  if (!airssys_core_host_messaging_request(&to, &payload, timeout_ms, &correlation_id, &error))
    return refused(&error, why);
  read_text(id, correlation_id.ptr, correlation_id.len);
  component_string_free(&correlation_id);
  return true;
}

static bool not_stored(storage_error_t *error, char *why) {
  static const char *const cases[] = {"not-found", "already-exists", "quota-exceeded",
                                      "invalid-key", "io-error"};
  char text[TEXT] = "";
  if (error->tag != AIRSSYS_CORE_ERRORS_STORAGE_ERROR_QUOTA_EXCEEDED)
    read_text(text, error->val.io_error.ptr, error->val.io_error.len);
  format(why, text[0] == '\0' ? "%s%s" : "%s: %s", cases[error->tag], text);
  airssys_core_storage_storage_error_free(error);
  return false;
}

bool load(const char *key, unsigned *number, char *why) {
  component_string_t name = string(key);
  airssys_core_storage_option_storage_value_t value;
  storage_error_t error;
  if (!airssys_core_storage_get(&name, &value, &error)) return not_stored(&error, why);
  *number = 0;
  if (value.is_some && value.val.len == sizeof *number)
    memcpy(number, value.val.ptr, sizeof *number);
  airssys_core_storage_option_storage_value_free(&value);
  return true;
}

bool store(const char *key, unsigned number, char *why) {
  component_string_t name = string(key);
  airssys_core_storage_storage_value_t value = {(uint8_t *)&number, sizeof number};
  storage_error_t error;
  return airssys_core_storage_set(&name, &value, &error) || not_stored(&error, why);
}

// --- exports ------------------------------------------------------------------

bool exports_airssys_core_component_lifecycle_handle_message(
    message_t *message, exports_airssys_core_component_lifecycle_option_message_payload_t *reply,
    exports_airssys_core_component_lifecycle_wasm_error_t *error) {
  char from[TEXT], said[TEXT], answer[TEXT] = "";
  read_id(from, &message->sender);
  read_text(said, message->payload.ptr, message->payload.len);
  airssys_core_types_component_message_free(message);

  bool ok = on_message(from, said, answer);
  component_string_t text;
  component_string_dup(&text, answer); // the caller frees it
  if (ok) {
    reply->is_some = true;
    reply->val.ptr = text.ptr;
    reply->val.len = text.len;
  } else {
    error->tag = AIRSSYS_CORE_ERRORS_WASM_ERROR_RUNTIME_ERROR;
    error->val.runtime_error = text;
  }
  return ok;
}

bool exports_airssys_core_component_lifecycle_handle_callback(
    message_t *message, exports_airssys_core_component_lifecycle_wasm_error_t *error) {
  (void)error;
  airssys_core_types_message_metadata_t *metadata = &message->metadata;
  char id[TEXT] = "", type[TEXT] = "", answer[TEXT];
  if (metadata->correlation_id.is_some)
    read_text(id, metadata->correlation_id.val.ptr, metadata->correlation_id.val.len);
  if (metadata->content_type.is_some)
    read_text(type, metadata->content_type.val.ptr, metadata->content_type.val.len);
  read_text(answer, message->payload.ptr, message->payload.len);
  airssys_core_types_component_message_free(message);

  on_callback(id, strcmp(type, MESSAGING_ERROR) == 0, answer);
  return true;
}

__attribute__((weak)) void on_callback(const char *id, bool failed, const char *answer) {
  (void)id, (void)failed, (void)answer;
}

bool exports_airssys_core_component_lifecycle_initialize(
    exports_airssys_core_component_lifecycle_component_config_t *config,
    exports_airssys_core_component_lifecycle_component_error_t *error) {
  (void)error;
  exports_airssys_core_component_lifecycle_component_config_free(config);
  return true;
}

void exports_airssys_core_component_lifecycle_metadata(
    exports_airssys_core_component_lifecycle_component_metadata_t *metadata) {
  memset(metadata, 0, sizeof *metadata);
  component_string_dup(&metadata->name, NAME);
  component_string_dup(&metadata->version, "1.0.0");
  component_string_dup(&metadata->description, DESCRIPTION);
  component_string_dup(&metadata->author, "airssys-wasm");
  component_string_dup(&metadata->license, "MIT OR Apache-2.0");
}

exports_airssys_core_component_lifecycle_health_status_t
exports_airssys_core_component_lifecycle_health(void) {
  return AIRSSYS_CORE_TYPES_HEALTH_STATUS_HEALTHY;
}

bool exports_airssys_core_component_lifecycle_shutdown(
    exports_airssys_core_component_lifecycle_component_error_t *error) {
  (void)error;
  return true;
}
