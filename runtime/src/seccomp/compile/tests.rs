use proptest::prelude::*;

use super::super::default;
use super::*;
use crate::caps::Capabilities;

/// What the kernel would do: a small interpreter of the instructions used here.
fn run(program: &[BpfInstruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    arguments.iter().for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut place, mut register) = (0usize, 0u32);
    loop {
        let BpfInstruction { code, jump_true, jump_false, operand } = program[place];
        let jump = |held: bool| usize::from(if held { jump_true } else { jump_false });
        place += 1;
        match code {
            LOAD => {
                register = u32::from_le_bytes(
                    data[operand as usize..operand as usize + 4].try_into().unwrap(),
                )
            }
            AND => register &= operand,
            JUMP => place += operand as usize,
            JUMP_EQUAL => place += jump(register == operand),
            JUMP_GREATER => place += jump(register > operand),
            JUMP_GREATER_OR_EQUAL => place += jump(register >= operand),
            RETURN => return operand,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn number_of(name: &str, column: usize) -> u32 {
    let line = SYSCALLS.lines().find(|line| line.split('\t').next() == Some(name)).unwrap();
    line.split('\t').nth(column).unwrap().parse().unwrap()
}

/// Covers: RUN-10, B07-05
#[test]
#[cfg(target_arch = "x86_64")]
fn the_default_profile_decides_as_dockers_does() {
    let plain = compile(&default::profile(Capabilities::docker_default(), (6, 1))).unwrap();
    let admin: Capabilities =
        Capabilities::resolve(&["SYS_ADMIN".into()], &[], crate::caps::Grant::Listed).unwrap();
    let admin = compile(&default::profile(admin, (6, 1))).unwrap();
    let old = compile(&default::profile(Capabilities::docker_default(), (4, 7))).unwrap();
    let new_user_namespace = 0x1000_0000;
    let table: &[(&str, [u64; 2], u32, u32)] = &[
        ("read", [0, 0], ALLOW, ALLOW),
        ("execve", [0, 0], ALLOW, ALLOW),
        ("mount", [0, 0], EPERM, ALLOW),
        ("unshare", [0, 0], EPERM, ALLOW),
        ("clone", [0, 0], ALLOW, ALLOW),
        ("clone", [new_user_namespace, 0], EPERM, ALLOW),
        ("clone3", [0, 0], ENOSYS, ALLOW),
        ("keyctl", [0, 0], EPERM, EPERM),
        ("add_key", [0, 0], EPERM, EPERM),
        ("kexec_load", [0, 0], EPERM, EPERM),
        ("io_uring_setup", [0, 0], EPERM, EPERM),
        ("socket", [2, 0], ALLOW, ALLOW),
        ("socket", [38, 0], EPERM, EPERM),
        ("socket", [40, 0], EPERM, EPERM),
        ("socket", [12, 0], EPERM, EPERM),
        ("socket", [16, 0], ALLOW, ALLOW),
        ("socket", [1 << 32, 0], EPERM, EPERM),
        ("personality", [0, 0], ALLOW, ALLOW),
        ("personality", [0xffff_ffff, 0], ALLOW, ALLOW),
        ("personality", [0x2_0008, 0], ALLOW, ALLOW),
        ("personality", [0x4_0000, 0], EPERM, EPERM),
        ("ptrace", [0, 0], ALLOW, ALLOW),
        ("chroot", [0, 0], ALLOW, ALLOW),
        ("reboot", [0, 0], EPERM, EPERM),
        ("arch_prctl", [0, 0], ALLOW, ALLOW),
    ];
    for (name, [a, b], expected, with_admin) in table {
        let arguments = [*a, *b, 0, 0, 0, 0];
        let number = number_of(name, 1);
        assert_eq!(
            run(&plain, AUDIT_ARCH_X86_64, number, arguments),
            *expected,
            "{name} {arguments:x?}"
        );
        assert_eq!(
            run(&admin, AUDIT_ARCH_X86_64, number, arguments),
            *with_admin,
            "{name} {arguments:x?} with SYS_ADMIN"
        );
    }
    assert_eq!(
        run(&old, AUDIT_ARCH_X86_64, number_of("ptrace", 1), [0; 6]),
        EPERM,
        "ptrace before kernel 4.8"
    );
    assert_eq!(run(&plain, AUDIT_ARCH_X86_64, 100_000, [0; 6]), EPERM, "a call nobody knows");
}

/// Covers: RUN-10
#[test]
#[cfg(target_arch = "x86_64")]
fn sub_architectures_have_their_own_numbers_and_foreign_ones_are_killed() {
    let plain = compile(&default::profile(Capabilities::docker_default(), (6, 1))).unwrap();
    assert_eq!(run(&plain, AUDIT_ARCH_I386, number_of("read", 2), [0; 6]), ALLOW);
    assert_eq!(run(&plain, AUDIT_ARCH_I386, number_of("socketcall", 2), [0; 6]), ALLOW);
    assert_eq!(run(&plain, AUDIT_ARCH_I386, number_of("mount", 2), [0; 6]), EPERM);
    assert_eq!(run(&plain, AUDIT_ARCH_X86_64, X32_BIT | number_of("execve", 4), [0; 6]), ALLOW);
    assert_eq!(run(&plain, AUDIT_ARCH_X86_64, X32_BIT | number_of("mount", 1), [0; 6]), EPERM);
    assert_eq!(run(&plain, AUDIT_ARCH_AARCH64, 63, [0; 6]), 0x8000_0000);
}

#[test]
fn the_program_fits_the_kernels_limit_with_room_to_spare() {
    let program = compile(&default::profile(Capabilities::all(), (6, 1))).unwrap();
    assert!(program.len() < 1500, "{} instructions", program.len());
}

fn any_comparison() -> impl Strategy<Value = Comparison> {
    let number = prop_oneof![
        any::<u64>(),
        0u64..4,
        Just(u64::from(u32::MAX)),
        Just(1 << 32),
        Just(u64::MAX)
    ];
    (0usize..7, number.clone(), number).prop_map(|(kind, value, mask)| match kind {
        0 => Comparison::Equal(value),
        1 => Comparison::NotEqual(value),
        2 => Comparison::Less(value),
        3 => Comparison::LessOrEqual(value),
        4 => Comparison::Greater(value),
        5 => Comparison::GreaterOrEqual(value),
        _ => Comparison::MaskedEqual { mask, value: value & mask },
    })
}

fn holds(comparison: Comparison, argument: u64) -> bool {
    match comparison {
        Comparison::Equal(value) => argument == value,
        Comparison::NotEqual(value) => argument != value,
        Comparison::Less(value) => argument < value,
        Comparison::LessOrEqual(value) => argument <= value,
        Comparison::Greater(value) => argument > value,
        Comparison::GreaterOrEqual(value) => argument >= value,
        Comparison::MaskedEqual { mask, value } => argument & mask == value,
    }
}

proptest! {
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_comparison_means_what_it_says(
        tests in proptest::collection::vec((0u8..6, any_comparison()), 1..5),
        arguments in proptest::array::uniform6(prop_oneof![any::<u64>(), 0u64..4, Just(1 << 32)]),
    ) {
        let tests: Vec<ArgumentTest> = tests.into_iter().map(|(index, comparison)| ArgumentTest { index, comparison }).collect();
        let rule = Rule { names: vec!["read".into()], action: Action::Allow, tests: tests.clone() };
        let program = compile(&Profile { default: Action::Errno(1), rules: vec![rule] }).unwrap();
        let expected = tests.iter().all(|test| holds(test.comparison, arguments[usize::from(test.index)]));
        let got = run(&program, AUDIT_ARCH_X86_64, 0, arguments) == ALLOW;
        prop_assert_eq!(got, expected);
    }
}
