;; world: runtime-host
;; include: lifecycle.wat
;; Asks other components on request. The message `namespace/name/instance text`
;; sends them the text, giving them 1000 ms, and answers the correlation id;
;; `cancel ID` withdraws a request; `last` answers what the last callback brought,
;; as `correlation-id|content-type|payload`, or none before the first.
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

(global $stateful i32 (i32.const 1))
;; What the last callback brought lies at the start of the heap, this long, and
;; stays there until the next.
(global $last-length (mut i32) (i32.const 0))

(data (i32.const 0x100) "last")
(data (i32.const 0x108) "cancel ")

(func $handle-message (param $message i32) (result i32)
  (local $at i32) (local $length i32)
  (call $payload (local.get $message))
  (local.set $length)
  (local.set $at)

  (if (call $equal (local.get $at) (local.get $length) (i32.const 0x100) (i32.const 4))
    (then
      (if (global.get $last-length)
        (then (return (call $some (i32.const 0x1000) (global.get $last-length)))))
      (return (call $none))))

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
