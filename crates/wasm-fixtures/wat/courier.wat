;; world: courier
;; wit: core.wit timers.wit web.wit courier.wit
;; include: lifecycle.wat
;; Asks on: the message `namespace/name/instance text` sends that component the text,
;; giving it 1000 ms, and answers the correlation id; `cancel ID` withdraws a request;
;; `last` answers none. What a callback brings is a URL, http://AUTHORITY/PATH, which is
;; asked for with GET; whatever comes of that, the callback went well.
(import "airssys:core/host-messaging@1.0.0" "request"
  (func $request
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $timeout-ms i64)
    (param $result i32)))
(import "airssys:core/host-messaging@1.0.0" "cancel-request"
  (func $cancel-request (param $id i32) (param $id-length i32) (param $result i32)))
(import "wasi:http/types@0.2.0" "[constructor]fields" (func $fields (result i32)))
(import "wasi:http/types@0.2.0" "[constructor]outgoing-request"
  (func $outgoing-request (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]outgoing-request"
  (func $drop-request (param i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-scheme"
  (func $set-scheme (param i32 i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-authority"
  (func $set-authority (param i32 i32 i32 i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]outgoing-request.set-path-with-query"
  (func $set-path (param i32 i32 i32 i32) (result i32)))
(import "wasi:http/outgoing-handler@0.2.0" "handle" (func $ask (param i32 i32 i32 i32)))
(import "wasi:http/types@0.2.0" "[method]future-incoming-response.subscribe"
  (func $subscribe (param i32) (result i32)))
(import "wasi:http/types@0.2.0" "[method]future-incoming-response.get"
  (func $get (param i32 i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]future-incoming-response"
  (func $drop-future (param i32)))
(import "wasi:http/types@0.2.0" "[resource-drop]incoming-response"
  (func $drop-response (param i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
(import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop-pollable (param i32)))

(data (i32.const 0x100) "last")
(data (i32.const 0x108) "cancel ")
(data (i32.const 0x110) "http://")

(func $handle-message (param $message i32) (result i32)
  (local $at i32) (local $length i32)
  (call $payload (local.get $message))
  (local.set $length)
  (local.set $at)

  (if (call $equal (local.get $at) (local.get $length) (i32.const 0x100) (i32.const 4))
    (then (return (call $none))))

  (if (call $starts-with (local.get $at) (local.get $length) (i32.const 0x108) (i32.const 7))
    (then
      (call $cancel-request
        (i32.add (local.get $at) (i32.const 7))
        (i32.sub (local.get $length) (i32.const 7))
        (i32.const 0x40))
      (if (call $failed)
        (then (return (call $messaging-failed))))
      (return (call $none))))

  (call $read-target (local.get $at) (local.get $length))
  (call $request
    (call $get-text (i32.const 0x80))
    (call $get-text (i32.const 0x88))
    (call $get-text (i32.const 0x90))
    (call $get-text (i32.const 0x98))
    (i64.const 1000)
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $messaging-failed))))
  (call $some (call $get-text (i32.const 0x44))))

(func $handle-callback (param $message i32) (result i32)
  (local $at i32) (local $length i32)
  (call $payload (local.get $message))
  (local.set $length)
  (local.set $at)
  (if (call $starts-with (local.get $at) (local.get $length) (i32.const 0x110) (i32.const 7))
    (then
      (call $fetch
        (i32.add (local.get $at) (i32.const 7))
        (i32.sub (local.get $length) (i32.const 7)))))
  (call $ok))

;; What follows the scheme.
(func $fetch (param $at i32) (param $length i32)
  (local $request i32) (local $host i32) (local $future i32) (local $pollable i32)
  (local.set $request (call $outgoing-request (call $fields)))
  (local.set $host (call $find (local.get $at) (local.get $length) (i32.const 0x2f)))
  (drop (call $set-scheme (local.get $request) (i32.const 1)
    (i32.const 0) (i32.const 0) (i32.const 0)))
  (if (i32.or
        (call $set-authority (local.get $request) (i32.const 1)
          (local.get $at) (local.get $host))
        (call $set-path (local.get $request) (i32.const 1)
          (i32.add (local.get $at) (local.get $host))
          (i32.sub (local.get $length) (local.get $host))))
    (then
      (call $drop-request (local.get $request))
      (return)))
  (call $ask (local.get $request) (i32.const 0) (i32.const 0) (i32.const 0x40))
  (if (call $failed)
    (then (return)))
  (local.set $future (i32.load (i32.const 0x48)))
  (local.set $pollable (call $subscribe (local.get $future)))
  (call $block (local.get $pollable))
  (call $drop-pollable (local.get $pollable))
  (call $get (local.get $future) (i32.const 0x40))
  (call $drop-future (local.get $future))
  (if (i32.eqz (i32.load8_u (i32.const 0x50)))
    (then (call $drop-response (i32.load (i32.const 0x58))))))
