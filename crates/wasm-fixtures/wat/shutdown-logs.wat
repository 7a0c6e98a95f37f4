;; world: runtime-host
;; include: lifecycle.wat
;; Leaves a trace: `shutdown` logs `bye` at the level info and answers ok. Any message is
;; answered with itself.
(import "airssys:core/host-services@1.0.0" "log"
  (func $log (param $level i32) (param $at i32) (param $length i32)
    (param $has-context i32) (param $context i32) (param $context-length i32)))

(data (i32.const 0x100) "bye")

(func $handle-message (param $message i32) (result i32)
  (call $echo (local.get $message)))

(func $shutdown (result i32)
  (call $log
    (i32.const 2)
    (i32.const 0x100) (i32.const 3)
    (i32.const 0) (i32.const 0) (i32.const 0))
  (call $ok))
