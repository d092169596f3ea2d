/* Shows the API description with the bundled Swagger UI. */
const place = document.getElementById("docs");

const csrfToken = () =>
  document.cookie.split("; ").find((one) => one.startsWith("csrftoken="))?.slice("csrftoken=".length);

SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  deepLinking: true,
  displayOperationId: true,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const token = csrfToken();
    if (token && new URL(request.url, location.href).origin === location.origin) {
      request.headers["X-CSRFToken"] = token;
    }
    return request;
  },
});
