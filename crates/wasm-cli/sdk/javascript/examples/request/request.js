// Asks the echo, and knows its last answer.
//
//   last   the answer
//   TEXT   is what it asks

import { component, request } from '../../airssys.js';

class Request {
  last = 'nothing yet';

  handle(message) {
    if (message.text === 'last') return this.last;
    request('sdk/echo/main', message.payload, 1000, (answer) => {
      this.last = answer.error ? `no answer: ${answer.error.message}` : answer.text;
    });
    return 'asked';
  }
}

export const componentLifecycle = component(Request, { name: 'request', version: '0.1.0' });
