// Where airssys.h meets the contract, as component.h has it.

#include "airssys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "component.h"

typedef airssys_core_types_component_id_t component_id_t;
typedef airssys_core_types_component_message_t message_t;
typedef airssys_core_errors_messaging_error_t messaging_error_t;
typedef airssys_core_storage_storage_error_t storage_error_t;

#define MESSAGING_ERROR "application/vnd.airssys.messaging-error"

extern const char *const airssys_component_name;
extern const char *const airssys_component_version;

// --- memory -------------------------------------------------------------------

// What lasts until the call ends.
typedef struct block {
  struct block *next;
  char bytes[];
} block;

static block *blocks;

// Never null: that the host refuses more memory ends this instance.
static void *sure(void *memory) {
  if (memory == NULL) __builtin_trap();
  return memory;
}

static char *lasting(size_t size) {
  block *made = sure(malloc(sizeof(block) + size));
  made->next = blocks;
  blocks = made;
  return made->bytes;
}

static void end_call(void) {
  while (blocks != NULL) {
    block *next = blocks->next;
    free(blocks);
    blocks = next;
  }
}

// --- texts --------------------------------------------------------------------

static char *lasting_text(const uint8_t *bytes, size_t length) {
  char *text = lasting(length + 1);
  if (length > 0) memcpy(text, bytes, length);
  text[length] = '\0';
  return text;
}

// A text that grows; it lasts until the call ends.
typedef struct {
  char *bytes;
  size_t length, room;
} growing;

static void add(growing *text, const char *bytes, size_t length) {
  if (text->length + length >= text->room) {
    size_t room = 2 * (text->length + length) + 32;
    char *more = lasting(room);
    if (text->length > 0) memcpy(more, text->bytes, text->length);
    text->bytes = more;
    text->room = room;
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

// How many bytes the first character of a text takes; 0 if they are not UTF-8.
static size_t character(const char *text) {
  const uint8_t *bytes = (const uint8_t *)text;
  uint8_t first = bytes[0];
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  // No longer than it has to be, no surrogate, and none beyond the last one.
  uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (bytes[1] < least || bytes[1] > most) return 0;
  for (size_t i = 2; i < length; i++)
    if ((bytes[i] & 0xc0) != 0x80) return 0;
  return length;
}

static bool is_utf8(const char *text) {
  size_t length = 1;
  for (; *text != '\0' && length > 0; text += length) length = character(text);
  return length > 0;
}

// The host ends a component that passes it a text that is not UTF-8. One for people has U+FFFD
// in the place of such bytes.
static const char *readable(const char *text) {
  if (is_utf8(text)) return text;
  growing made = {0};
  while (*text != '\0') {
    size_t length = character(text);
    add(&made, length > 0 ? text : "\xef\xbf\xbd", length > 0 ? length : 3);
    text += length > 0 ? length : 1;
  }
  made.bytes[made.length] = '\0';
  return made.bytes;
}

// Lent to the host for one call.
static component_string_t lent(const char *text) {
  return (component_string_t){(uint8_t *)text, strlen(text)};
}

static bool lent_key(const char *key, component_string_t *name) {
  *name = lent(key);
  return is_utf8(key) || airssys_fail("the key is not UTF-8");
}

// A copy that whoever receives it frees.
static component_string_t given(const char *text) {
  component_string_t copy;
  component_string_dup(&copy, readable(text));
  return copy;
}

static void add_number(growing *text, uint64_t number, unsigned base, bool is_negative) {
  char digits[21];
  char *digit = digits + sizeof digits;
  do *--digit = "0123456789abcdef"[number % base];
  while (number /= base);
  if (is_negative) *--digit = '-';
  add(text, digit, (size_t)(digits + sizeof digits - digit));
}

// Of an integer as wide as the letters between `%` and its conversion say.
#define INTEGER(arguments, width, type) \
  (width == 0 ? (int64_t)va_arg(arguments, type) \
   : width == 1 ? (int64_t)va_arg(arguments, type long) \
                : (int64_t)va_arg(arguments, type long long))

// What printf of the C library brings along is many times this, and speaks WASI.
static const char *formatted(const char *format, va_list arguments) {
  growing text = {0};
  add(&text, "", 0);
  while (*format != '\0') {
    size_t plain = strcspn(format, "%");
    add(&text, format, plain);
    format += plain;
    if (*format == '\0') break;
    const char *start = format++;
    size_t most = SIZE_MAX;
    if (strncmp(format, ".*", 2) == 0) {
      most = (size_t)va_arg(arguments, int);
      format += 2;
    }
    int width = 0;
    for (; *format == 'l' || *format == 'z'; format++) width++;
    switch (*format++) {
      case 's': {
        const char *string = va_arg(arguments, const char *);
        add(&text, string, strnlen(string, most));
        break;
      }
      case 'c': {
        char character = (char)va_arg(arguments, int);
        add(&text, &character, 1);
        break;
      }
      case 'd': {
        int64_t number = INTEGER(arguments, width, int);
        add_number(&text, number < 0 ? -(uint64_t)number : (uint64_t)number, 10, number < 0);
        break;
      }
      case 'u':
        add_number(&text, (uint64_t)INTEGER(arguments, width, unsigned), 10, false);
        break;
      case 'x':
        add_number(&text, (uint64_t)INTEGER(arguments, width, unsigned), 16, false);
        break;
      case '%':
        add(&text, "%", 1);
        break;
      default: // It cannot be known what its argument is.
        add(&text, start, strlen(start));
        goto end;
    }
  }
end:
  text.bytes[text.length] = '\0';
  return text.bytes;
}

#define FORMATTED(text, format) \
  va_list arguments; \
  va_start(arguments, format); \
  const char *text = formatted(format, arguments); \
  va_end(arguments)

const char *airssys_text(const char *format, ...) {
  FORMATTED(text, format);
  return text;
}

static const char *id_text(const component_id_t *id) {
  return airssys_text("%.*s/%.*s/%.*s", (int)id->namespace_.len, (char *)id->namespace_.ptr,
                      (int)id->name.len, (char *)id->name.ptr, (int)id->instance.len,
                      (char *)id->instance.ptr);
}

// Points into `text`.
static bool id_of(const char *text, component_id_t *id) {
  component_string_t *segments[] = {&id->namespace_, &id->name, &id->instance};
  if (!is_utf8(text)) return airssys_fail("%s is no id: it is not UTF-8", text);
  const char *rest = text;
  for (int i = 0; i < 3; i++) {
    size_t length = strcspn(rest, "/");
    *segments[i] = (component_string_t){(uint8_t *)rest, length};
    rest += length;
    if (*rest != (i < 2 ? '/' : '\0'))
      return airssys_fail("%s is no id: it is namespace/name/instance", text);
    rest += i < 2;
  }
  return true;
}

// --- what a call comes to -----------------------------------------------------

static const char *error_text = "";
static const uint8_t *reply_bytes;
static size_t reply_length;

const char *airssys_error(void) { return error_text; }

bool airssys_fail(const char *format, ...) {
  FORMATTED(text, format);
  error_text = text;
  return false;
}

bool airssys_reply_bytes(const void *bytes, size_t length) {
  reply_bytes = (const uint8_t *)lasting_text(bytes, length);
  reply_length = length;
  return true;
}

bool airssys_reply(const char *format, ...) {
  FORMATTED(text, format);
  reply_bytes = (const uint8_t *)text;
  reply_length = strlen(text);
  return true;
}

static void begin_call(void) {
  error_text = "";
  reply_bytes = NULL;
  reply_length = 0;
}

// --- messages -----------------------------------------------------------------

// Frees the error.
static bool refused(messaging_error_t *error) {
  // The cases that carry a string have it at the same place.
  int length = (int)error->val.delivery_failed.len;
  const char *text = (const char *)error->val.delivery_failed.ptr;
  switch (error->tag) {
    case AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_DELIVERY_FAILED:
      airssys_fail("delivery failed: %.*s", length, text);
      break;
    case AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_CORRELATION_TIMEOUT:
      airssys_fail("request %.*s was not answered in time", length, text);
      break;
    case AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_INVALID_MESSAGE:
      airssys_fail("invalid message: %.*s", length, text);
      break;
    case AIRSSYS_CORE_ERRORS_MESSAGING_ERROR_QUEUE_FULL:
      airssys_fail("queue full");
      break;
    default:
      airssys_fail("no component %s", id_text(&error->val.target_not_found));
  }
  airssys_core_errors_messaging_error_free(error);
  return false;
}

bool airssys_send(const char *to, const void *payload, size_t length) {
  component_id_t id;
  airssys_core_types_message_payload_t bytes = {(uint8_t *)payload, length};
  messaging_error_t error;
  return id_of(to, &id) &&
         (airssys_core_host_messaging_send(&id, &bytes, &error) || refused(&error));
}

bool airssys_broadcast(const char *const *to, size_t count, const void *payload, size_t length) {
  component_id_t *ids = (component_id_t *)lasting(count * sizeof *ids);
  for (size_t i = 0; i < count; i++)
    if (!id_of(to[i], &ids[i])) return false;
  airssys_core_host_messaging_list_component_id_t list = {ids, count};
  airssys_core_types_message_payload_t bytes = {(uint8_t *)payload, length};
  messaging_error_t error;
  return airssys_core_host_messaging_broadcast(&list, &bytes, &error) || refused(&error);
}

// A request that is not answered yet.
typedef struct open_request {
  struct open_request *next;
  component_string_t id;
  airssys_then *then;
  void *context;
} open_request;

static open_request *open_requests;

bool airssys_request(const char *to, const void *payload, size_t length, uint64_t timeout_ms,
                     airssys_then *then, void *context) {
  component_id_t id;
  airssys_core_types_message_payload_t bytes = {(uint8_t *)payload, length};
  component_string_t request;
  messaging_error_t error;
  if (!id_of(to, &id)) return false;
  if (!airssys_core_host_messaging_request(&id, &bytes, timeout_ms, &request, &error))
    return refused(&error);
  open_request *made = sure(malloc(sizeof *made));
  *made = (open_request){open_requests, request, then, context};
  open_requests = made;
  return true;
}

// Why a request has no answer, of the case and its text.
static const char *reason_of(const char *told) {
  static const char timeout[] = "correlation-timeout", failed[] = "delivery-failed: ";
  if (strncmp(told, timeout, sizeof timeout - 1) == 0)
    return "the request was not answered in time";
  if (strncmp(told, failed, sizeof failed - 1) == 0) told += sizeof failed - 1;
  return airssys_text("the request failed: %s", told);
}

// Takes the request out of the list.
static open_request *answered_request(const component_string_t *id) {
  for (open_request **place = &open_requests; *place != NULL; place = &(*place)->next) {
    open_request *request = *place;
    if (request->id.len != id->len || memcmp(request->id.ptr, id->ptr, id->len) != 0) continue;
    *place = request->next;
    return request;
  }
  return NULL;
}

// --- storage ------------------------------------------------------------------

// Frees the error.
static bool not_stored(storage_error_t *error) {
  // The cases that carry a string have it at the same place.
  int length = (int)error->val.io_error.len;
  const char *text = (const char *)error->val.io_error.ptr;
  switch (error->tag) {
    case AIRSSYS_CORE_ERRORS_STORAGE_ERROR_NOT_FOUND:
      airssys_fail("%.*s is not in the store", length, text);
      break;
    case AIRSSYS_CORE_ERRORS_STORAGE_ERROR_ALREADY_EXISTS:
      airssys_fail("%.*s is already in the store", length, text);
      break;
    case AIRSSYS_CORE_ERRORS_STORAGE_ERROR_QUOTA_EXCEEDED:
      airssys_fail("quota exceeded");
      break;
    case AIRSSYS_CORE_ERRORS_STORAGE_ERROR_INVALID_KEY:
      airssys_fail("invalid key: %.*s", length, text);
      break;
    default:
      airssys_fail("storage failed: %.*s", length, text);
  }
  airssys_core_storage_storage_error_free(error);
  return false;
}

bool airssys_get(const char *key, const char **value, size_t *length) {
  component_string_t name;
  airssys_core_storage_option_storage_value_t stored;
  storage_error_t error;
  if (!lent_key(key, &name)) return false;
  if (!airssys_core_storage_get(&name, &stored, &error)) return not_stored(&error);
  *value = stored.is_some ? lasting_text(stored.val.ptr, stored.val.len) : NULL;
  *length = stored.is_some ? stored.val.len : 0;
  airssys_core_storage_option_storage_value_free(&stored);
  return true;
}

bool airssys_set(const char *key, const void *value, size_t length) {
  component_string_t name;
  airssys_core_storage_storage_value_t bytes = {(uint8_t *)value, length};
  storage_error_t error;
  if (!lent_key(key, &name)) return false;
  return airssys_core_storage_set(&name, &bytes, &error) || not_stored(&error);
}

bool airssys_get_number(const char *key, int64_t *number) {
  const char *text;
  size_t length;
  if (!airssys_get(key, &text, &length)) return false;
  *number = 0;
  if (text == NULL) return true;
  char *end;
  errno = 0;
  *number = strtoll(text, &end, 10);
  return (length > 0 && end == text + length && errno == 0) ||
         airssys_fail("what is stored under `%s` does not read: %s", key, text);
}

bool airssys_set_number(const char *key, int64_t number) {
  const char *text = airssys_text("%lld", (long long)number);
  return airssys_set(key, text, strlen(text));
}

bool airssys_delete(const char *key) {
  component_string_t name;
  storage_error_t error;
  if (!lent_key(key, &name)) return false;
  return airssys_core_storage_delete(&name, &error) || not_stored(&error);
}

bool airssys_exists(const char *key, bool *exists) {
  component_string_t name;
  storage_error_t error;
  if (!lent_key(key, &name)) return false;
  return airssys_core_storage_exists(&name, exists, &error) || not_stored(&error);
}

bool airssys_keys(const char *prefix, const char *const **keys, size_t *count) {
  component_string_t begin;
  component_list_string_t found;
  storage_error_t error;
  if (!lent_key(prefix, &begin)) return false;
  if (!airssys_core_storage_list_keys(&begin, &found, &error)) return not_stored(&error);
  const char **texts = (const char **)lasting(found.len * sizeof *texts);
  for (size_t i = 0; i < found.len; i++)
    texts[i] = lasting_text(found.ptr[i].ptr, found.ptr[i].len);
  *keys = texts;
  *count = found.len;
  component_list_string_free(&found);
  return true;
}

// --- log, clock, own id -------------------------------------------------------

void airssys_log(airssys_level level, const char *format, ...) {
  FORMATTED(text, format);
  component_string_t message = lent(readable(text));
  airssys_core_host_services_log((airssys_core_types_log_level_t)level, &message, NULL);
}

uint64_t airssys_now_ms(void) { return airssys_core_host_services_current_time_millis(); }

void airssys_sleep_ms(uint64_t milliseconds) {
  airssys_core_host_services_sleep_millis(milliseconds);
}

const char *airssys_own_id(void) {
  component_id_t id;
  airssys_core_host_messaging_self_id(&id);
  const char *text = id_text(&id);
  airssys_core_types_component_id_free(&id);
  return text;
}

void airssys_components(const char *const **ids, size_t *count) {
  airssys_core_host_services_list_component_id_t found;
  airssys_core_host_services_list_components(&found);
  const char **texts = (const char **)lasting(found.len * sizeof *texts);
  for (size_t i = 0; i < found.len; i++) texts[i] = id_text(&found.ptr[i]);
  *ids = texts;
  *count = found.len;
  airssys_core_host_services_list_component_id_free(&found);
}

// --- configuration ------------------------------------------------------------

// Kept as long as the instance.
static component_list_tuple2_string_string_t variables;

const char *airssys_variable(const char *name) {
  size_t length = strlen(name);
  for (size_t i = 0; i < variables.len; i++) {
    component_tuple2_string_string_t *variable = &variables.ptr[i];
    if (variable->f0.len == length && memcmp(variable->f0.ptr, name, length) == 0)
      return lasting_text(variable->f1.ptr, variable->f1.len);
  }
  return NULL;
}

__attribute__((weak)) bool airssys_start(const char *config, size_t length) {
  (void)config, (void)length;
  return true;
}

__attribute__((weak)) airssys_health_status airssys_health(void) { return AIRSSYS_HEALTHY; }

__attribute__((weak)) bool airssys_stop(void) { return true; }

// --- exports ------------------------------------------------------------------

bool exports_airssys_core_component_lifecycle_initialize(
    exports_airssys_core_component_lifecycle_component_config_t *config,
    exports_airssys_core_component_lifecycle_component_error_t *error) {
  begin_call();
  variables = config->env_vars;
  size_t length = config->config_data.val.len;
  const char *data =
      config->config_data.is_some ? lasting_text(config->config_data.val.ptr, length) : NULL;
  bool ok = airssys_start(data, data == NULL ? 0 : length);
  if (!ok) {
    error->tag = AIRSSYS_CORE_ERRORS_COMPONENT_ERROR_INITIALIZATION_FAILED;
    error->val.initialization_failed = given(error_text);
  }
  if (config->config_data.is_some) free(config->config_data.val.ptr);
  end_call();
  return ok;
}

static void runtime_error(exports_airssys_core_component_lifecycle_wasm_error_t *error) {
  error->tag = AIRSSYS_CORE_ERRORS_WASM_ERROR_RUNTIME_ERROR;
  error->val.runtime_error = given(error_text);
}

static const char *content_type(const message_t *message) {
  const component_option_string_t *type =
      (const component_option_string_t *)&message->metadata.content_type;
  return type->is_some ? lasting_text(type->val.ptr, type->val.len) : NULL;
}

bool exports_airssys_core_component_lifecycle_handle_message(
    message_t *message, exports_airssys_core_component_lifecycle_option_message_payload_t *reply,
    exports_airssys_core_component_lifecycle_wasm_error_t *error) {
  begin_call();
  airssys_message told = {
      .from = id_text(&message->sender),
      .payload = lasting_text(message->payload.ptr, message->payload.len),
      .length = message->payload.len,
      .content_type = content_type(message),
  };
  airssys_core_types_component_message_free(message);
  bool ok = airssys_handle(&told);
  if (!ok) runtime_error(error);
  reply->is_some = reply_bytes != NULL;
  if (ok && reply->is_some) {
    // The caller frees it.
    reply->val.ptr = reply_length > 0 ? sure(malloc(reply_length)) : NULL;
    reply->val.len = reply_length;
    if (reply_length > 0) memcpy(reply->val.ptr, reply_bytes, reply_length);
  }
  end_call();
  return ok;
}

bool exports_airssys_core_component_lifecycle_handle_callback(
    message_t *message, exports_airssys_core_component_lifecycle_wasm_error_t *error) {
  begin_call();
  const char *type = content_type(message);
  bool failed = type != NULL && strcmp(type, MESSAGING_ERROR) == 0;
  const char *payload = lasting_text(message->payload.ptr, message->payload.len);
  if (failed) payload = reason_of(payload);
  airssys_answer answer = {
      .failed = failed,
      .from = id_text(&message->sender),
      .payload = payload,
      .length = failed ? strlen(payload) : message->payload.len,
  };
  open_request *request = NULL;
  if (message->metadata.correlation_id.is_some)
    request = answered_request(&message->metadata.correlation_id.val);
  airssys_core_types_component_message_free(message);
  bool ok = request == NULL || request->then(&answer, request->context);
  if (!ok) runtime_error(error);
  if (request != NULL) {
    component_string_free(&request->id);
    free(request);
  }
  end_call();
  return ok;
}

void exports_airssys_core_component_lifecycle_metadata(
    exports_airssys_core_component_lifecycle_component_metadata_t *metadata) {
  memset(metadata, 0, sizeof *metadata);
  metadata->name = given(airssys_component_name);
  metadata->version = given(airssys_component_version);
  metadata->stateful = true;
}

exports_airssys_core_component_lifecycle_health_status_t
exports_airssys_core_component_lifecycle_health(void) {
  airssys_health_status status = airssys_health();
  end_call();
  return (exports_airssys_core_component_lifecycle_health_status_t)status;
}

bool exports_airssys_core_component_lifecycle_shutdown(
    exports_airssys_core_component_lifecycle_component_error_t *error) {
  begin_call();
  bool ok = airssys_stop();
  if (!ok) {
    error->tag = AIRSSYS_CORE_ERRORS_COMPONENT_ERROR_SHUTDOWN_FAILED;
    error->val.shutdown_failed = given(error_text);
  }
  end_call();
  return ok;
}
