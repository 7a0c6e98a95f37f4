;; world: runtime-host
;; include: lifecycle.wat
;; Traps before it is ready.
(func $initialize
  (param $env i32) (param $env-length i32)
  (param $has-data i32) (param $data i32) (param $data-length i32)
  (param $memory-bytes i64) (param $time-ms i64)
  (param $has-fuel i32) (param $fuel i64)
  (result i32)
  (unreachable))
