;; world: runtime-host
;; include: lifecycle.wat
;; Logs each message five times, from trace to error, with the context key=value.
(import "airssys:core/host-services@1.0.0" "log"
  (func $log (param $level i32) (param $at i32) (param $length i32)
    (param $has-context i32) (param $context i32) (param $context-length i32)))

(data (i32.const 0x100) "key")
(data (i32.const 0x108) "value")
(data (i32.const 0x110) "\00\01\00\00\03\00\00\00\08\01\00\00\05\00\00\00")

(func $handle-message (param $message i32) (result i32)
  (local $level i32)
  (loop $next
    (call $log
      (local.get $level)
      (call $payload (local.get $message))
      (i32.const 1) (i32.const 0x110) (i32.const 1))
    (local.set $level (i32.add (local.get $level) (i32.const 1)))
    (br_if $next (i32.lt_u (local.get $level) (i32.const 5))))
  (call $none))
