// What the components of the café share: the contract's functions in terms of C
// strings. Components are written against this header alone; cafe.c is where it
// meets the generated bindings.
//
// A text that arrives is kept to TEXT - 1 bytes of printable ASCII: the rest is cut
// off, and other bytes become `?`.

#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { TEXT = 256 };

// --- what a component writes itself -------------------------------------------

extern const char NAME[];
extern const char DESCRIPTION[];

// A message. `from` is the sender's id, which the host vouches for. What is in
// `reply` (TEXT bytes, empty at first) in the end is the answer; with `false` it is
// an error, which the component survives.
bool on_message(const char *from, const char *said, char *reply);

// The answer to the request `id`, or, if it failed, why. Does nothing unless the
// component has one of its own.
void on_callback(const char *id, bool failed, const char *answer);

// --- what it can do -----------------------------------------------------------

// `out` is TEXT bytes. Knows %s and %u.
void format(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

// What follows `word` at the start of `text`, or null.
const char *after(const char *text, const char *word);

// Logs at level info.
void note(const char *line);

// Targets are `namespace/name/instance`. If false, `why` (TEXT bytes) tells why.
bool send(const char *target, const char *text, char *why);
bool broadcast(const char *const *targets, size_t count, const char *text, char *why);

// The answer comes to on_callback under `id` (TEXT bytes), later.
bool request(const char *target, const char *text, unsigned timeout_ms, char *id, char *why);

// One number for each key, 0 at first.
bool load(const char *key, unsigned *number, char *why);
bool store(const char *key, unsigned number, char *why);
