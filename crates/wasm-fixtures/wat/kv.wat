;; wit: kv.wit
;; world: kv
;; Keeps values and reads its configuration as components of other hosts do, through
;; wasi:keyvalue in both of its drafts and wasi:config. Each export does one thing.
(import "wasi:keyvalue/store@0.2.0-draft" "open" (func $open (param i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.get"
  (func $get (param i32 i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.set"
  (func $set (param i32 i32 i32 i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.delete"
  (func $delete (param i32 i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.exists"
  (func $exists (param i32 i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft" "[method]bucket.list-keys"
  (func $list (param i32 i32 i64 i32)))
(import "wasi:keyvalue/store@0.2.0-draft" "[resource-drop]bucket" (func $drop (param i32)))
(import "wasi:keyvalue/atomics@0.2.0-draft" "increment"
  (func $increment (param i32 i32 i32 i64 i32)))
(import "wasi:keyvalue/batch@0.2.0-draft" "get-many"
  (func $get-many (param i32 i32 i32 i32)))
(import "wasi:keyvalue/batch@0.2.0-draft" "set-many"
  (func $set-many (param i32 i32 i32 i32)))
(import "wasi:keyvalue/batch@0.2.0-draft" "delete-many"
  (func $delete-many (param i32 i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft2" "open" (func $open2 (param i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft2" "[method]bucket.list-keys"
  (func $list2 (param i32 i32 i32 i32 i32)))
(import "wasi:keyvalue/store@0.2.0-draft2" "[resource-drop]bucket" (func $drop2 (param i32)))
(import "wasi:keyvalue/atomics@0.2.0-draft2" "increment"
  (func $increment2 (param i32 i32 i32 i64 i32)))
(import "wasi:keyvalue/atomics@0.2.0-draft2" "[static]cas.new"
  (func $cas (param i32 i32 i32 i32)))
(import "wasi:keyvalue/atomics@0.2.0-draft2" "swap" (func $swap (param i32 i32 i32 i32)))
(import "wasi:keyvalue/batch@0.2.0-draft2" "get-many"
  (func $get-many2 (param i32 i32 i32 i32)))
(import "wasi:config/store@0.2.0-draft" "get" (func $config-get (param i32 i32 i32)))
(import "wasi:config/store@0.2.0-draft" "get-all" (func $config-all (param i32)))

;; At 0 is what functions return, at 64 what is returned, at 128 lists, and from 1024 on what
;; is handed over.
(memory (export "memory") 4)
(data (i32.const 256) "default")
;; The name of the bucket: that at 256, or one at 320.
(global $name (mut i32) (i32.const 256))
(global $length (mut i32) (i32.const 7))
(global $free (mut i32) (i32.const 1024))

(func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
  (global.set $free (i32.add (local.get $at) (local.get 3)))
  (if (i32.gt_u (global.get $free) (i32.const 262144)) (then (unreachable)))
  (local.get $at))

;; What was handed over in the call before may be put over. The parameters of this one are
;; there already, and below what comes.
(func $bucket (result i32)
  (call $open (global.get $name) (global.get $length) (i32.const 0))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (i32.load (i32.const 4)))

(func $bucket2 (result i32)
  (call $open2 (global.get $name) (global.get $length) (i32.const 0))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (i32.load (i32.const 4)))

;; 0, or one more than the case of the error.
(func $case (result i32)
  (if (result i32) (i32.load8_u (i32.const 0))
    (then (i32.add (i32.const 1) (i32.load8_u (i32.const 4))))
    (else (i32.const 0))))

(func $over (global.set $free (i32.const 1024)))

(func (export "open") (param $name i32) (param $length i32) (result i32)
  (local $case i32)
  (call $open (local.get $name) (local.get $length) (i32.const 0))
  (local.set $case (call $case))
  (if (i32.eqz (local.get $case)) (then (call $drop (i32.load (i32.const 4)))))
  (call $over)
  (local.get $case))

(func (export "use-bucket") (param $name i32) (param $length i32)
  (memory.copy (i32.const 320) (local.get $name) (local.get $length))
  (global.set $name (i32.const 320))
  (global.set $length (local.get $length))
  (call $over))

(func (export "set") (param $key i32) (param $k i32) (param $value i32) (param $v i32) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket))
  (call $set (local.get $bucket) (local.get $key) (local.get $k)
    (local.get $value) (local.get $v) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $over)
  (call $case))

(func (export "delete") (param $key i32) (param $k i32) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket))
  (call $delete (local.get $bucket) (local.get $key) (local.get $k) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $over)
  (call $case))

(func (export "exists") (param $key i32) (param $k i32) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket))
  (call $exists (local.get $bucket) (local.get $key) (local.get $k) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $over)
  (if (result i32) (i32.load8_u (i32.const 0))
    (then (i32.add (i32.const 2) (i32.load8_u (i32.const 4))))
    (else (i32.load8_u (i32.const 4)))))

;; The option of a text at 64, of what is at 0.
(func $text (result i32)
  (i32.store (i32.const 64) (i32.const 0))
  (if (i32.eqz (i32.load8_u (i32.const 0)))
    (then
      (i32.store (i32.const 64) (i32.load8_u (i32.const 4)))
      (i32.store (i32.const 68) (i32.load (i32.const 8)))
      (i32.store (i32.const 72) (i32.load (i32.const 12)))))
  (i32.const 64))

(func (export "get") (param $key i32) (param $k i32) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket))
  (call $get (local.get $bucket) (local.get $key) (local.get $k) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $over)
  (call $text))

;; The option of a number at 64.
(func $number (result i32)
  (i32.store (i32.const 64) (i32.eqz (i32.load8_u (i32.const 0))))
  (i64.store (i32.const 72) (i64.load (i32.const 8)))
  (i32.const 64))

(func (export "add") (param $key i32) (param $k i32) (param $number i64) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket))
  (call $increment (local.get $bucket) (local.get $key) (local.get $k)
    (local.get $number) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $over)
  (call $number))

(func (export "add-signed") (param $key i32) (param $k i32) (param $number i64) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket2))
  (call $increment2 (local.get $bucket) (local.get $key) (local.get $k)
    (local.get $number) (i32.const 0))
  (call $drop2 (local.get $bucket))
  (call $over)
  (call $number))

;; The next cursor is 0 where there is none.
(func (export "page") (param $some i32) (param $cursor i64) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket))
  (call $list (local.get $bucket) (local.get $some) (local.get $cursor) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $over)
  (i32.store (i32.const 64) (i32.eqz (i32.load8_u (i32.const 0))))
  (i32.store (i32.const 72) (i32.load (i32.const 12)))
  (i64.store (i32.const 80) (i64.const 0))
  (if (i32.load8_u (i32.const 16))
    (then (i64.store (i32.const 80) (i64.load (i32.const 24)))))
  (i32.const 64))

(func (export "page-after") (param $some i32) (param $cursor i32) (param $c i32) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket2))
  (call $list2 (local.get $bucket) (local.get $some) (local.get $cursor) (local.get $c)
    (i32.const 0))
  (call $drop2 (local.get $bucket))
  (call $over)
  (i32.store (i32.const 64) (i32.eqz (i32.load8_u (i32.const 0))))
  (i32.store (i32.const 68) (i32.load (i32.const 8)))
  (i64.store align=4 (i32.const 72) (i64.const 0))
  (if (i32.load8_u (i32.const 12))
    (then (i64.store align=4 (i32.const 72) (i64.load align=4 (i32.const 16)))))
  (i32.const 64))

;; Two entries of a list of keys and values at 128, and three of a list of keys at 192.
(func (export "many")
  (param $first i32) (param $f i32) (param $second i32) (param $s i32)
  (param $third i32) (param $t i32) (result i32)
  (local $bucket i32) (local $read i32) (local $at i32) (local $left i32)
  (local.set $bucket (call $bucket))
  (i32.store (i32.const 128) (local.get $first))
  (i32.store (i32.const 132) (local.get $f))
  (i32.store (i32.const 136) (i32.const 256))
  (i32.store (i32.const 140) (i32.const 7))
  (i32.store (i32.const 144) (local.get $second))
  (i32.store (i32.const 148) (local.get $s))
  (i32.store (i32.const 152) (i32.const 256))
  (i32.store (i32.const 156) (i32.const 7))
  (i32.store (i32.const 192) (local.get $first))
  (i32.store (i32.const 196) (local.get $f))
  (i32.store (i32.const 200) (local.get $second))
  (i32.store (i32.const 204) (local.get $s))
  (i32.store (i32.const 208) (local.get $third))
  (i32.store (i32.const 212) (local.get $t))
  (call $set-many (local.get $bucket) (i32.const 128) (i32.const 2) (i32.const 0))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (call $get-many (local.get $bucket) (i32.const 192) (i32.const 3) (i32.const 0))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (local.set $at (i32.load (i32.const 4)))
  (local.set $left (i32.load (i32.const 8)))
  (loop $next
    (local.set $read (i32.add (local.get $read) (i32.load8_u (local.get $at))))
    (local.set $at (i32.add (local.get $at) (i32.const 20)))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $next (local.get $left)))
  (call $delete-many (local.get $bucket) (i32.const 192) (i32.const 1) (i32.const 0))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (call $drop (local.get $bucket))
  (call $over)
  (local.get $read))

;; A list of two keys at 128.
(func (export "count")
  (param $first i32) (param $f i32) (param $second i32) (param $s i32) (result i32)
  (local $bucket i32) (local $at i32)
  (local.set $bucket (call $bucket2))
  (i32.store (i32.const 128) (local.get $first))
  (i32.store (i32.const 132) (local.get $f))
  (i32.store (i32.const 136) (local.get $second))
  (i32.store (i32.const 140) (local.get $s))
  (call $get-many2 (local.get $bucket) (i32.const 128) (i32.const 2) (i32.const 0))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (local.set $at (i32.load (i32.const 4)))
  (call $drop2 (local.get $bucket))
  (call $over)
  (i32.add
    (i32.load8_u offset=8 (local.get $at))
    (i32.load8_u offset=28 (local.get $at))))

;; A list of one key over and over.
(func (export "read-often")
  (param $key i32) (param $k i32) (param $times i32) (param $second i32) (result i32)
  (local $bucket i32) (local $list i32) (local $at i32) (local $left i32)
  (local.set $list
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
      (i32.mul (local.get $times) (i32.const 8))))
  (local.set $at (local.get $list))
  (local.set $left (local.get $times))
  (loop $next
    (i32.store (local.get $at) (local.get $key))
    (i32.store offset=4 (local.get $at) (local.get $k))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
    (br_if $next (local.get $left)))
  (if (local.get $second)
    (then
      (local.set $bucket (call $bucket2))
      (call $get-many2 (local.get $bucket) (local.get $list) (local.get $times) (i32.const 0))
      (call $drop2 (local.get $bucket)))
    (else
      (local.set $bucket (call $bucket))
      (call $get-many (local.get $bucket) (local.get $list) (local.get $times) (i32.const 0))
      (call $drop (local.get $bucket))))
  (call $over)
  (call $case))

(func $looked-at (param $key i32) (param $k i32) (result i32)
  (local $bucket i32)
  (local.set $bucket (call $bucket2))
  (call $cas (local.get $bucket) (local.get $key) (local.get $k) (i32.const 0))
  (call $drop2 (local.get $bucket))
  (if (i32.load8_u (i32.const 0)) (then (unreachable)))
  (i32.load (i32.const 4)))

(func (export "swap") (param $key i32) (param $k i32) (param $value i32) (param $v i32) (result i32)
  (call $swap (call $looked-at (local.get $key) (local.get $k))
    (local.get $value) (local.get $v) (i32.const 0))
  (call $over)
  (call $case))

(func (export "swap-late")
  (param $key i32) (param $k i32) (param $between i32) (param $b i32)
  (param $value i32) (param $v i32) (result i32)
  (local $cas i32) (local $bucket i32)
  (local.set $cas (call $looked-at (local.get $key) (local.get $k)))
  (local.set $bucket (call $bucket))
  (call $set (local.get $bucket) (local.get $key) (local.get $k)
    (local.get $between) (local.get $b) (i32.const 0))
  (call $drop (local.get $bucket))
  (call $swap (local.get $cas) (local.get $value) (local.get $v) (i32.const 0))
  (if (i32.ne (call $case) (i32.const 2)) (then (return (i32.const 0))))
  (call $swap (i32.load (i32.const 8)) (local.get $value) (local.get $v) (i32.const 0))
  (call $over)
  (i32.eqz (call $case)))

(func (export "setting") (param $key i32) (param $k i32) (result i32)
  (call $config-get (local.get $key) (local.get $k) (i32.const 0))
  (call $over)
  (call $text))

(func (export "settings") (result i32)
  (call $config-all (i32.const 0))
  (call $over)
  (i32.load (i32.const 8)))
