;; world: runtime-host
;; include: lifecycle.wat
;; Sends on: the message `namespace/name/instance text` goes to that component as
;; the text.
(import "airssys:core/host-messaging@1.0.0" "send"
  (func $send
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $payload i32) (param $payload-length i32)
    (param $result i32)))

(func $handle-message (param $message i32) (result i32)
  (call $read-target (call $payload (local.get $message)))
  (call $send
    (call $get-text (i32.const 0x80))
    (call $get-text (i32.const 0x88))
    (call $get-text (i32.const 0x90))
    (call $get-text (i32.const 0x98))
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $messaging-failed))))
  (call $none))
