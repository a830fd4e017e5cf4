use std::collections::BTreeMap;

use super::*;

fn check(name: &str, head: &str, expect: &str) {
    let got = Language::detect(name.as_bytes(), head.as_bytes());
    assert_eq!(got.name(), expect, "{name:?} {head:?}");
}

/// `cases`: lines of a language followed by file names.
fn check_names(cases: &str) {
    for line in cases.lines() {
        let mut words = line.split_whitespace();
        let Some(expect) = words.next() else { continue };
        for name in words {
            check(name, "", expect);
        }
    }
}

#[test]
fn extensions() {
    check_names(
        "c a.c a.h .hidden.c a.b.c -.c lexer.c_shipped
         cpp a.cc a.cpp a.C a.H a.hpp a.HPP a.tcc
         asm head.s head.S
         linker-script vmlinux.lds vmlinux.lds.S
         rust lib.rs LIB.RS
         python a.py a.pyi
         typescript a.ts a.d.ts a.tsx
         javascript a.min.js
         fortran a.f a.F a.f90 a.F90 A.FOR
         r a.r a.R
         erlang a.erl my.app.src
         roff ls.1 printf.3p lib.io.7
         yaml a.yml a.b.YAML
         objective-c a.m
         text a.txt a.TXT
         unknown a a. .c ... . a.unknownext 1.2.3 tool-1.2.1 a.verylongextensionthatnobodyhas",
    );
    check("", "", "unknown");
    check("caf\u{e9}.rs", "", "rust");
    let not_utf8 = Language::detect(b"\xff\xfe\x80.go", b"");
    assert_eq!(not_utf8.name(), "go");
}

#[test]
fn whole_names() {
    check_names(
        "make Makefile makefile GNUmakefile MAKEFILE Makefile.am Makefile.in Makefile.config Makefile_32.cpu
         make Makefile-old Kbuild Kbuild.platforms Build
         kconfig Kconfig Kconfig.debug Kconfig-nommu
         dockerfile Dockerfile Dockerfile.go dockerfile.dev Containerfile
         bazel BUILD BUILD.bazel WORKSPACE
         unknown build Makefilex Dockerfiles
         go Dockerfile_parser.go Kconfig-tool.go
         cmake CMakeLists.txt FindX.cmake
         meson meson.build
         toml Cargo.toml Cargo.lock
         json composer.lock package-lock.json .eslintrc.json
         gomod go.mod
         shell .bashrc .profile configure
         ignore .gitignore
         dotenv .env .env.local
         defconfig .config x86_64_defconfig
         ini config .gitconfig
         text README readme LICENSE LICENSE-Apache NEWS CMakeLists2.txt
         unknown news install
         markdown README.md",
    );
}

#[test]
fn wrappers_are_looked_through() {
    check_names(
        "c config.h.in config.h.orig a.c.in.bak
         yaml a.yaml.example
         meson meson.build.in
         dotenv .env.example
         unknown a.in .in in a.template",
    );
    check("tool.in", "#!/bin/sh\n", "shell");
}

#[test]
fn shebangs() {
    for (head, expect) in [
        ("#!/bin/sh", "shell"),
        ("#! /bin/sh -e\n", "shell"),
        ("#!/bin/bash\r\nx", "shell"),
        ("\u{feff}#!/bin/sh\n", "shell"),
        ("#!/usr/bin/python3.11 -u\n", "python"),
        ("#!/usr/bin/env python\n", "python"),
        ("#!/usr/bin/env -S python3 -u\n", "python"),
        ("#!/usr/bin/env -Spython3 -u\n", "python"),
        ("#!/usr/bin/env -iS PATH=/bin perl -w\n", "perl"),
        ("#!/usr/bin/env -u HOME -C /tmp node\n", "javascript"),
        ("#!/usr/bin/env -uSHELL node\n", "javascript"),
        ("#!/usr/bin/env --split-string=ruby -w\n", "ruby"),
        ("#!/usr/bin/env -- A=b /opt/bin/lua5.4\n", "lua"),
        ("#!/usr/bin/perl5.36-x86\n", "unknown"),
        ("#!/usr/bin/perl5.36\n", "perl"),
        ("#!/usr/bin/tclsh8.6\n", "tcl"),
        ("#!/usr/bin/awk -f\n", "awk"),
        ("#!/bin/sed -nf\n", "sed"),
        ("#!/usr/bin/make -f\n", "make"),
        ("#!/bin/busybox sh\n", "shell"),
        ("#!C:\\Python\\python.exe\n", "python"),
        ("#!/usr/bin/env\n", "unknown"),
        ("#!/usr/bin/env -S\n", "unknown"),
        ("#!/usr/bin/env -u\n", "unknown"),
        ("#!/bin/busybox", "unknown"),
        ("#!", "unknown"),
        ("#!\nsh", "unknown"),
        ("#!/\n", "unknown"),
        ("#!3.1\n", "unknown"),
        ("#!/usr/bin/unheard-of\n", "unknown"),
        (" #!/bin/sh\n", "unknown"),
        ("#include <sh>\n", "unknown"),
    ] {
        check("tool", head, expect);
    }
    let far = format!("#!{}/bin/sh\n", " ".repeat(SHEBANG_BYTES_MAX));
    check("tool", &far, "unknown");
    check("tool.py", "#!/bin/sh\n", "python");
    check("tool.tc", "#!/bin/sh\n", "shell");
}

#[test]
fn labels() {
    for (label, expect) in [
        ("c", "c"),
        ("C", "c"),
        ("C++", "cpp"),
        ("cxx", "cpp"),
        ("js", "javascript"),
        ("TS", "typescript"),
        ("tsx", "typescript"),
        ("py", "python"),
        ("rs", "rust"),
        (".rs", "rust"),
        ("sh", "shell"),
        ("bash", "shell"),
        ("golang", "go"),
        ("md", "markdown"),
        ("yml", "yaml"),
        ("Makefile", "make"),
        ("C#", "csharp"),
        ("docker", "dockerfile"),
        ("objc", "objective-c"),
        ("assembly", "asm"),
        ("Unknown", "unknown"),
    ] {
        let got = Language::from_name(label).map(Language::name);
        assert_eq!(got, Some(expect), "{label}");
    }
    for label in ["", ".", "no such language", &"x".repeat(99)] {
        assert_eq!(Language::from_name(label), None, "{label}");
    }
}

#[test]
fn values() {
    assert_eq!(Language::default(), Language::UNKNOWN);
    assert_eq!(Language::UNKNOWN.code(), 0);
    assert_eq!(Language::all().count(), TABLE.len() - 1);
    assert!(Language::all().all(|l| l != Language::UNKNOWN));
    assert_eq!(Language::from_code(9999), None);
    assert_eq!(Language(9999).name(), "unknown");
    let rust = Language::from_name("rust").expect("in the table");
    assert_eq!(format!("{rust:>6}|{rust:?}"), "  rust|Language(3)");
    for language in Language::all().chain([Language::UNKNOWN]) {
        assert_eq!(Language::from_code(language.code()), Some(language));
        assert_eq!(Language::from_name(language.name()), Some(language));
    }
}

/// Fails when a code changed hands. New languages go to the end of both lists; nothing else may change here.
#[test]
fn codes_are_pinned() {
    let pinned: Vec<&str> = PINNED.split_whitespace().collect();
    let table: Vec<&str> = TABLE.iter().map(|r| r.id).collect();
    assert_eq!(table, pinned);
    for (code, row) in TABLE.iter().enumerate() {
        assert_eq!(usize::from(row.code), code, "{}", row.id);
    }
}

#[test]
fn no_key_is_claimed_twice() {
    let mut claims: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in TABLE {
        let lists = [
            ("label", row.id),
            ("label", row.aliases),
            ("extension", row.extensions),
            ("name", row.names),
            ("interpreter", row.interpreters),
        ];
        for (kind, list) in lists {
            for key in list.split_ascii_whitespace() {
                let key = key.trim_matches('*');
                claims.entry((kind, key)).or_default().push(row.id);
            }
        }
    }
    for (claim, ids) in &claims {
        assert_eq!(ids.len(), 1, "{claim:?} by {ids:?}");
    }
    // A label must not mean one language and, as an extension, another.
    for ((kind, key), ids) in &claims {
        let other = claims.get(&("extension", key));
        if *kind == "label" {
            assert!(other.is_none_or(|o| o == ids), "{key}: {ids:?} or {other:?}");
        }
    }
}

#[test]
fn keys_are_well_formed() {
    for row in TABLE {
        let labels = row.id.split(' ').chain(row.aliases.split_whitespace());
        for label in labels {
            assert!(!label.is_empty(), "{}", row.code);
            assert!(!label.bytes().any(|b| b.is_ascii_uppercase()), "{label}");
        }
        for list in [row.aliases, row.extensions, row.names, row.interpreters] {
            for key in list.split_ascii_whitespace() {
                assert!(key.is_ascii() && key.len() <= KEY_BYTES_MAX, "{key}");
                assert!(!key.contains('/'), "{key}");
            }
        }
        for extension in row.extensions.split_whitespace() {
            assert!(!extension.starts_with('.'), "{extension}");
            let wrapper = WRAPPERS.contains(&extension.as_bytes());
            assert!(!wrapper, "{extension}");
        }
    }
}

/// Every key of the table leads to its row, so that none is shadowed by an earlier rule.
#[test]
fn every_key_is_reachable() {
    for row in TABLE {
        for extension in row.extensions.split_whitespace() {
            check(&format!("some_file.{extension}"), "", row.id);
        }
        for name in row.names.split_whitespace() {
            let file = match name.strip_prefix('*') {
                Some(ending) => format!("some{ending}"),
                None => name.trim_end_matches('*').to_owned(),
            };
            check(&file, "", row.id);
        }
        for interpreter in row.interpreters.split_whitespace() {
            check("tool", &format!("#!/usr/bin/{interpreter}\n"), row.id);
            check("tool", &format!("#!/usr/bin/env {interpreter}\n"), row.id);
        }
    }
}

const PINNED: &str = "
    unknown c cpp rust python javascript typescript go java shell make kconfig dts asm yaml json
    toml markdown rst html css xml sql proto perl ruby php lua kotlin swift scala haskell ocaml
    elixir erlang zig nim csharp fsharp dart r julia matlab fortran ada cobol lisp clojure scheme
    tcl awk sed vim tex diff dockerfile cmake meson bazel nix ini csv text linker-script lex yacc
    defconfig ignore gitattributes dotenv properties tsv objective-c objective-cpp cuda opencl glsl
    hlsl wgsl metal verilog systemverilog vhdl d groovy powershell batch fish nushell csh scss sass
    less stylus vue svelte astro graphql thrift flatbuffers capnp hcl jsonnet cue dhall rego bicep
    puppet gomod m4 ninja gn just qmake rpm-spec nsis roff texinfo asciidoc org textile mediawiki
    typst bibtex po dot asn1 coccinelle litmus systemtap bpftrace llvm-ir mlir tablegen wat smali
    p4 antlr ragel ebnf pest lalrpop prisma cypher sparql turtle xquery sas stata gnuplot wolfram
    scilab gdscript qml autohotkey applescript cython jupyter mojo crystal gleam elm purescript
    idris agda lean coq cabal reason rescript standard-ml elisp racket fennel hy janet prolog forth
    pascal visual-basic smalltalk haxe vala actionscript coffeescript raku erb haml slim pug
    handlebars jinja twig liquid ejs razor jsp solidity vyper cairo move vlang odin pony chapel
    ballerina bluespec moonscript squirrel webidl idl robot gherkin gdb abap modelica openscad
    gcode kdl ron hocon pkl pkg-config
";
