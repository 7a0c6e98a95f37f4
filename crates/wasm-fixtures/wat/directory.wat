;; world: runtime-host
;; include: lifecycle.wat
;; Asks the host who is there. `namespace/name/instance`: what is known of that
;; component, as `id|name|version|health`; an empty message: the ids of all
;; components, one on a line.
(import "airssys:core/host-services@1.0.0" "list-components"
  (func $list-components (param $result i32)))
(import "airssys:core/host-services@1.0.0" "get-component-metadata"
  (func $get-component-metadata
    (param $namespace i32) (param $namespace-length i32)
    (param $name i32) (param $name-length i32)
    (param $instance i32) (param $instance-length i32)
    (param $result i32)))

(func $handle-message (param $message i32) (result i32)
  (if (i32.eqz (i32.load offset=28 (local.get $message)))
    (then (return (call $answer-list))))
  (call $read-target (call $payload (local.get $message)))
  (call $get-component-metadata
    (call $get-text (i32.const 0x80))
    (call $get-text (i32.const 0x88))
    (call $get-text (i32.const 0x90))
    (i32.const 0x40))
  (if (call $failed)
    (then (return (call $runtime-error (call $component-case)))))
  (call $begin-text)
  (call $append-id (i32.const 0x44))
  (call $append-byte (i32.const 0x7c))
  (call $append (call $get-text (i32.const 0x5c)))
  (call $append-byte (i32.const 0x7c))
  (call $append (call $get-text (i32.const 0x64)))
  (call $append-byte (i32.const 0x7c))
  (call $append (call $get-text (i32.const 0x6c)))
  (call $some (call $end-text)))

(func $answer-list (result i32)
  (local $id i32) (local $end i32)
  (call $list-components (i32.const 0x40))
  (local.set $id (i32.load (i32.const 0x40)))
  (local.set $end
    (i32.add (local.get $id) (i32.mul (i32.load (i32.const 0x44)) (i32.const 24))))
  (call $begin-text)
  (block $done
    (loop $next
      (br_if $done (i32.eq (local.get $id) (local.get $end)))
      (call $append-id (local.get $id))
      (call $append-byte (i32.const 0x0a))
      (local.set $id (i32.add (local.get $id) (i32.const 24)))
      (br $next)))
  (call $some (call $end-text)))
