// Greets, and counts whom it greeted.

import { component, log, storage } from './airssys.js';

class Greeter {
  constructor(config) {
    this.greeting = config.text ?? 'hello';
  }

  handle(message) {
    const name = message.text;
    const count = Number(storage.getText(name) ?? 0) + 1;
    storage.set(name, String(count));
    log.info(`${name} was greeted ${count} times`);
    return `${this.greeting} ${name}`;
  }
}

export const componentLifecycle = component(Greeter, { name: '@NAME@', version: '0.1.0' });
