;; world: runtime-host
;; include: lifecycle.wat
;; Calls others before it is loaded: `initialize` sends `hello` to demo/sink/main,
;; asks it `question`, giving it 1000 ms, and answers initialization-failed if one of
;; them is refused. Any message is answered with what the last callback brought, as
;; `correlation-id|content-type|payload`, or with none before the first.
(import "airssys:core/host-messaging@1.0.0" "send"
  (func $send
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))
(import "airssys:core/host-messaging@1.0.0" "request"
  (func $request
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $timeout-ms i64)
    (param $result i32)))

(global $stateful i32 (i32.const 1))
;; What the last callback brought lies at the start of the heap, this long, and
;; stays there until the next.
(global $last-length (mut i32) (i32.const 0))

(data (i32.const 0x100) "demo")
(data (i32.const 0x108) "sink")
(data (i32.const 0x110) "main")
(data (i32.const 0x118) "hello")
(data (i32.const 0x120) "question")

(func $initialize
  (param $env i32) (param $env-length i32)
  (param $has-data i32) (param $data i32) (param $data-length i32)
  (param $memory-bytes i64) (param $time-ms i64)
  (param $has-fuel i32) (param $fuel i64)
  (result i32)
  (call $send
    (i32.const 0x100) (i32.const 4)
    (i32.const 0x108) (i32.const 4)
    (i32.const 0x110) (i32.const 4)
    (i32.const 0x118) (i32.const 5)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 0) (call $messaging-case)))))
  (call $request
    (i32.const 0x100) (i32.const 4)
    (i32.const 0x108) (i32.const 4)
    (i32.const 0x110) (i32.const 4)
    (i32.const 0x120) (i32.const 8)
    (i64.const 1000)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $error (i32.const 0) (call $messaging-case)))))
  (call $ok))

(func $handle-message (param $message i32) (result i32)
  (if (global.get $last-length)
    (then (return (call $some (i32.const 0x1000) (global.get $last-length)))))
  (call $none))

(func $handle-callback (param $message i32) (result i32)
  (local $at i32) (local $length i32)
  (call $begin-text)
  (call $append-option (i32.add (local.get $message) (i32.const 32)))
  (call $append-byte (i32.const 0x7c))
  (call $append-option (i32.add (local.get $message) (i32.const 88)))
  (call $append-byte (i32.const 0x7c))
  (call $append (call $payload (local.get $message)))
  (call $end-text)
  (local.set $length)
  (local.set $at)
  (memory.copy (i32.const 0x1000) (local.get $at) (local.get $length))
  (global.set $last-length (local.get $length))
  (global.set $kept (i32.add (i32.const 0x1000) (local.get $length)))
  (call $ok))
