//! From a profile to a classic BPF program: one decision tree per system call table, leaves by action.
//!
//! The kernel gives the program `struct seccomp_data`: number, architecture, instruction pointer, six arguments. Jumps go
//! forward only, conditional ones at most 255 instructions, so trees are laid out left branch first.

use std::collections::{BTreeMap, HashMap};

use super::profile::{Action, ArgumentTest, Comparison, Profile, Rule};
use crate::error::{Error, Result};
use crate::limits;
use crate::sys::BpfInstruction;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
/// Set in the number of a call by a 32-bit-pointer program on x86_64.
const X32_BIT: u32 = 0x4000_0000;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_GREATER_OR_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Names and numbers, one line per call; see the head of the file.
const SYSCALLS: &str = include_str!("syscalls.tsv");

/// The program for all system call tables this architecture's kernels have.
pub(super) fn compile(profile: &Profile) -> Result<Vec<BpfInstruction>> {
    let sections = match std::env::consts::ARCH {
        "x86_64" => vec![
            (AUDIT_ARCH_X86_64, table(profile, x86_64_numbers)),
            (AUDIT_ARCH_I386, table(profile, i386_numbers)),
        ],
        "aarch64" => vec![(AUDIT_ARCH_AARCH64, table(profile, aarch64_numbers))],
        other => {
            return Err(Error::unsupported(
                format!("seccomp on {other}"),
                "this version knows x86_64 and aarch64; use --security-opt seccomp=unconfined",
            ));
        }
    };
    let mut program = vec![instruction(LOAD, ARCHITECTURE)];
    for (architecture, ranges) in sections {
        let body: Vec<_> =
            [instruction(LOAD, NUMBER)].into_iter().chain(tree(&ranges, profile)).collect();
        program.push(branch(JUMP_EQUAL, architecture, 1, 0));
        program.push(instruction(JUMP, offset(body.len())));
        program.extend(body);
    }
    program.push(ret(Action::KillProcess));
    if program.len() > limits::BPF_INSTRUCTIONS {
        return Err(Error::unsupported(
            "a seccomp profile of this size",
            format!(
                "it compiles to {} instructions and the kernel takes {}",
                program.len(),
                limits::BPF_INSTRUCTIONS
            ),
        ));
    }
    Ok(program)
}

/// The rules that concern one call, in order; an empty list means the default.
type Leaf<'a> = Vec<&'a Rule>;

/// From this number on, this leaf.
type Range<'a> = (u32, Leaf<'a>);

/// Sorted ranges that cover all numbers, neighbours with equal leaves joined.
fn table(profile: &Profile, numbers: fn(&[&str]) -> Vec<u32>) -> Vec<Range<'_>> {
    let by_name = rules_by_name(profile);
    let mut leaves: BTreeMap<u32, Leaf<'_>> = BTreeMap::new();
    for line in SYSCALLS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let Some(leaf) = columns.first().and_then(|name| by_name.get(name)) else { continue };
        for number in numbers(&columns) {
            leaves.insert(number, leaf.clone());
        }
    }
    let mut ranges: Vec<Range<'_>> = vec![(0, Vec::new())];
    let mut expected = 0;
    for (number, leaf) in leaves {
        if number != expected {
            push_range(&mut ranges, expected, Vec::new());
        }
        push_range(&mut ranges, number, leaf);
        expected = number + 1;
    }
    push_range(&mut ranges, expected, Vec::new());
    ranges
}

fn push_range<'a>(ranges: &mut Vec<Range<'a>>, start: u32, leaf: Leaf<'a>) {
    match ranges.last_mut() {
        Some((_, last)) if same_leaf(last, &leaf) => {}
        Some((last_start, last)) if *last_start == start => *last = leaf,
        _ => ranges.push((start, leaf)),
    }
}

/// Two leaves act alike when both are one rule without tests and the same action, or are the very same rules.
fn same_leaf(a: &[&Rule], b: &[&Rule]) -> bool {
    match (a, b) {
        ([a], [b]) if a.tests.is_empty() && b.tests.is_empty() => a.action == b.action,
        _ => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| std::ptr::eq(*a, *b)),
    }
}

/// Rules of each name, the unconditional one last and alone behind it.
fn rules_by_name(profile: &Profile) -> HashMap<&str, Leaf<'_>> {
    let mut by_name: HashMap<&str, Leaf<'_>> = HashMap::new();
    for rule in &profile.rules {
        for name in &rule.names {
            by_name.entry(name).or_default().push(rule);
        }
    }
    for rules in by_name.values_mut() {
        if let Some(unconditional) = rules.iter().position(|rule| rule.tests.is_empty()) {
            let last = rules[unconditional];
            rules.retain(|rule| !rule.tests.is_empty() && rule.action != last.action);
            rules.push(last);
        }
    }
    by_name
}

fn tree(ranges: &[Range<'_>], profile: &Profile) -> Vec<BpfInstruction> {
    if let [(_, leaf)] = ranges {
        return leaf_code(leaf, profile);
    }
    let (left, right) = ranges.split_at(ranges.len() / 2);
    let pivot = right.first().map_or(0, |(start, _)| *start);
    let left = tree(left, profile);
    let mut code = match u8::try_from(left.len()) {
        Ok(length) => vec![branch(JUMP_GREATER_OR_EQUAL, pivot, length, 0)],
        Err(_) => {
            vec![branch(JUMP_GREATER_OR_EQUAL, pivot, 0, 1), instruction(JUMP, offset(left.len()))]
        }
    };
    code.extend(left);
    code.extend(tree(right, profile));
    code
}

fn leaf_code(leaf: &[&Rule], profile: &Profile) -> Vec<BpfInstruction> {
    let mut code = Vec::new();
    for rule in leaf {
        code.extend(rule_code(rule));
    }
    if leaf.last().is_none_or(|rule| !rule.tests.is_empty()) {
        code.push(ret(profile.default));
    }
    code
}

/// All tests, then the action; a test that fails jumps behind the action.
fn rule_code(rule: &Rule) -> Vec<BpfInstruction> {
    let mut steps: Vec<Step> = Vec::new();
    for test in &rule.tests {
        let begin = steps.len();
        steps.extend(test_code(*test));
        let end = steps.len();
        for step in &mut steps[begin..] {
            step.pass_at = end;
        }
    }
    let fail_at = steps.len() + 1;
    let mut code: Vec<_> =
        steps.iter().enumerate().map(|(place, step)| step.assemble(place, fail_at)).collect();
    code.push(ret(rule.action));
    code
}

#[derive(Clone, Copy)]
enum Goto {
    Next,
    Pass,
    Fail,
}

struct Step {
    code: u16,
    operand: u32,
    on_true: Goto,
    on_false: Goto,
    pass_at: usize,
}

impl Step {
    fn plain(code: u16, operand: u32) -> Self {
        Self { code, operand, on_true: Goto::Next, on_false: Goto::Next, pass_at: 0 }
    }

    fn test(code: u16, operand: u32, on_true: Goto, on_false: Goto) -> Self {
        Self { code, operand, on_true, on_false, pass_at: 0 }
    }

    fn assemble(&self, place: usize, fail_at: usize) -> BpfInstruction {
        let distance = |goto| match goto {
            Goto::Next => 0,
            Goto::Pass => self.pass_at - place - 1,
            Goto::Fail => fail_at - place - 1,
        };
        // Six tests of at most five instructions each: every distance is far below 255.
        let short = |goto| u8::try_from(distance(goto)).unwrap_or(u8::MAX);
        branch(self.code, self.operand, short(self.on_true), short(self.on_false))
    }
}

/// Arguments are 64 bits wide and compared in two halves, the upper one first.
fn test_code(test: ArgumentTest) -> Vec<Step> {
    use Goto::{Fail, Next, Pass};
    let low_at =
        ARGUMENTS + 8 * u32::from(test.index) + if cfg!(target_endian = "little") { 0 } else { 4 };
    let high_at =
        ARGUMENTS + 8 * u32::from(test.index) + if cfg!(target_endian = "little") { 4 } else { 0 };
    let (load_high, load_low) = (Step::plain(LOAD, high_at), Step::plain(LOAD, low_at));
    match test.comparison {
        Comparison::Equal(value) => {
            let (high, low) = halves(value);
            vec![
                load_high,
                Step::test(JUMP_EQUAL, high, Next, Fail),
                load_low,
                Step::test(JUMP_EQUAL, low, Next, Fail),
            ]
        }
        Comparison::NotEqual(value) => {
            let (high, low) = halves(value);
            vec![
                load_high,
                Step::test(JUMP_EQUAL, high, Next, Pass),
                load_low,
                Step::test(JUMP_EQUAL, low, Fail, Next),
            ]
        }
        Comparison::Less(value) => {
            ordered(value, load_high, load_low, Fail, Pass, JUMP_GREATER_OR_EQUAL, Fail, Next)
        }
        Comparison::LessOrEqual(value) => {
            ordered(value, load_high, load_low, Fail, Pass, JUMP_GREATER, Fail, Next)
        }
        Comparison::Greater(value) => {
            ordered(value, load_high, load_low, Pass, Fail, JUMP_GREATER, Next, Fail)
        }
        Comparison::GreaterOrEqual(value) => {
            ordered(value, load_high, load_low, Pass, Fail, JUMP_GREATER_OR_EQUAL, Next, Fail)
        }
        Comparison::MaskedEqual { mask, value } => {
            let ((mask_high, mask_low), (high, low)) = (halves(mask), halves(value));
            vec![
                load_high,
                Step::plain(AND, mask_high),
                Step::test(JUMP_EQUAL, high, Next, Fail),
                load_low,
                Step::plain(AND, mask_low),
                Step::test(JUMP_EQUAL, low, Next, Fail),
            ]
        }
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one shape for four comparisons, called only from the table above"
)]
fn ordered(
    value: u64,
    load_high: Step,
    load_low: Step,
    high_greater: Goto,
    high_less: Goto,
    low_test: u16,
    low_true: Goto,
    low_false: Goto,
) -> Vec<Step> {
    let (high, low) = halves(value);
    vec![
        load_high,
        Step::test(JUMP_GREATER, high, high_greater, Goto::Next),
        Step::test(JUMP_EQUAL, high, Goto::Next, high_less),
        load_low,
        Step::test(low_test, low, low_true, low_false),
    ]
}

fn x86_64_numbers(columns: &[&str]) -> Vec<u32> {
    let native = number(columns, 1);
    let x32 = number(columns, 4).or(native).map(|number| number | X32_BIT);
    native.into_iter().chain(x32).collect()
}

fn i386_numbers(columns: &[&str]) -> Vec<u32> {
    number(columns, 2).into_iter().collect()
}

fn aarch64_numbers(columns: &[&str]) -> Vec<u32> {
    number(columns, 3).into_iter().collect()
}

fn number(columns: &[&str], column: usize) -> Option<u32> {
    columns.get(column)?.parse().ok()
}

fn halves(value: u64) -> (u32, u32) {
    let bytes = value.to_be_bytes();
    let half =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (half(0), half(4))
}

fn ret(action: Action) -> BpfInstruction {
    let value = match action {
        Action::Allow => 0x7fff_0000,
        Action::Log => 0x7ffc_0000,
        Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Trap => 0x0003_0000,
        Action::KillThread => 0,
        Action::KillProcess => 0x8000_0000,
    };
    instruction(RETURN, value)
}

fn instruction(code: u16, operand: u32) -> BpfInstruction {
    branch(code, operand, 0, 0)
}

fn branch(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> BpfInstruction {
    BpfInstruction { code, jump_true, jump_false, operand }
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
