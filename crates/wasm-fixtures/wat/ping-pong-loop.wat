;; world: runtime-host
;; include: lifecycle.wat
;; Sends every payload back to who sent it, so that two of them never come to rest:
;; each message makes the next.
(import "airssys:core/host-messaging@1.0.0" "send"
  (func $send
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(func $handle-message (param $message i32) (result i32)
  (call $send
    (call $get-text (local.get $message))
    (call $get-text (i32.add (local.get $message) (i32.const 8)))
    (call $get-text (i32.add (local.get $message) (i32.const 16)))
    (call $payload (local.get $message))
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $messaging-failed))))
  (call $none))
