;; world: runtime-host
;; include: lifecycle.wat
;; Answers its own id, as the host tells it.
(import "airssys:core/host-messaging@1.0.0" "self-id" (func $self-id (param $result i32)))

(func $handle-message (param $message i32) (result i32)
  (call $self-id (i32.const 0x40))
  (call $begin-text)
  (call $append-id (i32.const 0x40))
  (call $some (call $end-text)))
