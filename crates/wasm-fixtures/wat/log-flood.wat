;; world: runtime-host
;; include: lifecycle.wat
;; Logs 100,000 lines in answer to one message, then answers none.
(import "airssys:core/host-services@1.0.0" "log"
  (func $log (param $level i32) (param $at i32) (param $length i32)
    (param $has-context i32) (param $context i32) (param $context-length i32)))

(data (i32.const 0x100) "flood")

(func $handle-message (param $message i32) (result i32)
  (local $left i32)
  (local.set $left (i32.const 100000))
  (loop $next
    (call $log
      (i32.const 2)
      (i32.const 0x100) (i32.const 5)
      (i32.const 0) (i32.const 0) (i32.const 0))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $next (local.get $left)))
  (call $none))
