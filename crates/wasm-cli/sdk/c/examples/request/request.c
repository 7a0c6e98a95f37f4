// Asks the echo, and knows its last answer.
//
//   last   the answer
//   TEXT   is what it asks

#include "airssys.h"

#include <stdlib.h>
#include <string.h>

AIRSSYS_COMPONENT("request", "0.1.0");

static const char nothing[] = "nothing yet";
static char *last; // or NULL

static bool answered(const airssys_answer *answer, void *context) {
  (void)context;
  free(last);
  last = strdup(answer->failed ? airssys_text("no answer: %s", answer->payload) : answer->payload);
  return true;
}

bool airssys_handle(const airssys_message *message) {
  if (strcmp(message->payload, "last") == 0) return airssys_reply("%s", last == NULL ? nothing : last);
  if (!airssys_request("sdk/echo/main", message->payload, message->length, 1000, answered, NULL))
    return false;
  return airssys_reply("asked");
}
