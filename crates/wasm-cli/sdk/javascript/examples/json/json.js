// Counts for each name how often it was sent: messages are JSON, such as {"name": "ann"}.

import { component, storage } from '../../airssys.js';

class Json {
  handle(message) {
    const { name } = message.json;
    const count = Number(storage.getText(name) ?? 0) + 1;
    storage.set(name, count);
    return JSON.stringify({ name, count });
  }
}

export const componentLifecycle = component(Json, { name: 'json', version: '0.1.0' });
