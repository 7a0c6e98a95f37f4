#pragma once

// Opens a TCP connection and closes it again. Null: it worked; else what did not,
// `LOOKUP-OR-CONNECT: ERROR`, to be copied before the next call.
const char *try_connect(const char *host, unsigned port);
