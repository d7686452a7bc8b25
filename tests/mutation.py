"""Wrong versions of a right function: every change of one operator, constant, name or line."""

import ast
import copy
from collections.abc import Iterator

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt, ast.LtE),
    ast.Eq: (ast.NotEq, ast.LtE, ast.GtE),
    ast.NotEq: (ast.Eq, ast.Lt, ast.Gt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add, ast.Div),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.FloorDiv, ast.Sub),
    ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.BitOr: (ast.BitAnd,),
}
NAMES = {
    "min": "max", "any": "all", "minimum": "maximum", "mean": "sum", "exp": "log", "cos": "sin",
    "softmax": "log_softmax", "logsigmoid": "sigmoid", "sorted": "list", "len": "sum",
    "append": "remove", "continue": "break", "keys": "values",
}
# calls that keep the value
SAME = ("tolist", "float", "int", "list", "bool", "tuple", "torch.tensor")
SYMMETRIC = ("min", "max", "minimum", "maximum", "equal")
OTHER = NAMES | {other: name for name, other in NAMES.items()}


def mutants(function: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """(what was changed, source) of each distinct function with one change in its body."""
    function = copy.deepcopy(function)
    names = [argument.arg for argument in function.args.args]
    for argument in function.args.args:
        argument.annotation = None
    function.returns = None
    plain, seen = ast.unparse(function), set()
    for index, node in enumerate(list(ast.walk(function))):
        for twin in twins(node, names):
            source = exchanged(function, index, twin)
            if source != plain and source not in seen:
                seen.add(source)
                yield change(plain, source), source


def change(old: str, new: str) -> str:
    """The first line that differs, as it was and as it is."""
    pairs = zip(old.splitlines(), [*new.splitlines(), ""])
    return next(f"{a.strip()} -> {b.strip()}" for a, b in pairs if a != b)


def brief(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0]


def exchanged(tree: ast.AST, index: int, twin: ast.AST) -> str:
    """The source with the node of that index (in the order of ast.walk) replaced."""
    tree = copy.deepcopy(tree)
    target = list(ast.walk(tree))[index]

    class Exchange(ast.NodeTransformer):
        def visit(self, node):
            return twin if node is target else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Exchange().visit(tree)))


def twins(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """What may stand in the node's place."""
    if isinstance(node, ast.stmt):
        yield from statements(node)
    elif isinstance(node, ast.Constant):
        yield from constants(node)
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp)):
        yield from operations(node)
    elif isinstance(node, ast.Call):
        yield from calls(node)
    elif isinstance(node, ast.Attribute) and node.attr in OTHER:
        yield with_(node, attr=OTHER[node.attr])
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        others = [name for name in names if name != node.id] if node.id in names else []
        for other in [*others, *filter(None, [OTHER.get(node.id)])]:
            yield ast.Name(other, ast.Load())
    elif isinstance(node, ast.Slice):
        yield from slices(node)


def with_(node: ast.AST, **changes) -> ast.AST:
    twin = copy.deepcopy(node)
    for name, value in changes.items():
        setattr(twin, name, value)
    return twin


def statements(node: ast.stmt) -> Iterator[ast.AST]:
    if isinstance(node, (ast.FunctionDef, ast.Pass)):
        return
    yield ast.Pass()
    if isinstance(node, (ast.Break, ast.Continue)):
        yield ast.Continue() if isinstance(node, ast.Break) else ast.Break()
    if isinstance(node, (ast.If, ast.While)):
        yield with_(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.AugAssign):
        for other in OPERATORS.get(type(node.op), ()):
            yield with_(node, op=other())
        yield ast.Assign([node.target], node.value, lineno=0)


def constants(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, (int, float)):
        for other in (value + 1, value - 1, -value, 2 * value, value / 2):
            if other != value:
                yield ast.Constant(other)
    elif isinstance(value, str):
        yield ast.Constant(value + "?")


def operations(node: ast.expr) -> Iterator[ast.AST]:
    """Another operator, one term less, both terms exchanged."""
    if isinstance(node, ast.BinOp):
        for other in OPERATORS.get(type(node.op), ()):
            yield with_(node, op=other())
        yield node.left
        yield node.right
        if not isinstance(node.op, (ast.Add, ast.Mult, ast.BitOr, ast.BitAnd)):
            yield with_(node, left=node.right, right=node.left)
    elif isinstance(node, ast.BoolOp):
        yield with_(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        for index in range(len(node.values)):
            rest = node.values[:index] + node.values[index + 1 :]
            yield rest[0] if len(rest) == 1 else with_(node, values=rest)
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
        yield with_(node, body=node.orelse, orelse=node.body)
    else:
        text = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in
                   (node.left, *node.comparators))
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)][: 1 if text else 3]:
                yield with_(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])


def calls(node: ast.Call) -> Iterator[ast.AST]:
    """Without the call, without one of its arguments, with two arguments exchanged."""
    if isinstance(node.func, ast.Attribute) and node.func.attr not in SAME:
        yield node.func.value
    for argument in node.args if brief(node.func) not in SAME else ():
        yield argument.value if isinstance(argument, ast.Starred) else argument
    for part in ("args", "keywords"):
        given = getattr(node, part)
        for index in range(len(given)):
            yield with_(node, **{part: given[:index] + given[index + 1 :]})
    last = brief(node.func).rpartition(".")[2]
    for index in range(len(node.args) - 1) if last not in SYMMETRIC else ():
        first, second, *rest = node.args[index:]
        yield with_(node, args=[*node.args[:index], second, first, *rest])


def slices(node: ast.Slice) -> Iterator[ast.AST]:
    for part in ("lower", "upper"):
        if bound := getattr(node, part):
            yield with_(node, **{part: None})
            yield with_(node, **{part: ast.BinOp(bound, ast.Add(), ast.Constant(1))})
            yield with_(node, **{part: ast.BinOp(bound, ast.Sub(), ast.Constant(1))})
