#include <Python.h>

static PyObject *add(PyObject *self, PyObject *args)
{
    (void)self;
    long a, b;
    if (!PyArg_ParseTuple(args, "ll", &a, &b))
        return NULL;
    return PyLong_FromLong(a + b);
}

static PyMethodDef methods[] = {{"add", add, METH_VARARGS, "The sum."}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_sum", .m_methods = methods};

PyMODINIT_FUNC PyInit__sum(void) { return PyModule_Create(&module); }
